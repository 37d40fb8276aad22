"""A serving process: its sockets, its life from start to exit code, and several of them under a supervisor.

The command line imports `process.serve`, `supervisor.supervise`, `sockets.Address` and `worker`.
This package may import the application (`dockrion.web`), the Dockfile, logs and metrics; only the
command line imports it.
"""
