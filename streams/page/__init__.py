"""The program's own page: an andon board in the browser, for those who have no dashboards.

``record`` keeps what a picture needs, ``board`` makes the picture, ``desk`` takes what people say,
``routes`` hangs it all on the port. ``page.js`` draws with Preact; the library itself comes out of
a package when ours is built (see ``build.py``) and is never part of the sources.
"""
