"""The HTTP API: the only package that knows aiohttp's server.

`app.create_app` makes the application; `routes.py` is the table of its routes, `service.py` builds what
they share, and each group of routes has a module. `server` and `cli` import from here. This package may
import everything below it: the engine, backends, agents, auth, the Dockfile and the API description.
"""
