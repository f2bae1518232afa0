"""The parts of the simulated line; :mod:`streams.simulate` is the door and explains the physics.

``config`` (what a line is) → ``calendar`` and ``injections`` (what it is told to do, when) →
``line`` (parts, buffers, states, scan by scan) → ``sensors`` (heat, vibration, noise) →
``generate`` (chunks) → ``truth`` and ``writer`` (files). ``plant`` is the load generator, ``demo``
the recording of the first run, ``frames`` raw vibration samples, ``noise`` the random numbers.
"""
