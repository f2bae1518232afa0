"""Benchmarks: how good the program is (``benchmarks.quality``) and how fast.

Every figure that the project states is printed by a program in here, under a permanent id.  Nothing
in the two packages may import from here, and nothing here may be needed to run the program.
"""
