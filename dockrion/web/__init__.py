"""The HTTP API: the only package that knows aiohttp's server.

`app.create_app` makes the application; `routes.py` is the table of its routes, `service.py` builds what
they share, and each group of routes has a module. `server` and `cli` import from here. This package may
import every other one except `server` and the client's (`client`, `console`, `load`).
"""
