"""A serving process: its sockets, its life from start to exit code, and several of them under a supervisor.

The command line imports `process.serve`, `supervisor.supervise`, `sockets.Address` and `worker`. `systemd`
speaks with the service manager that has started it, if one has. This package may import the application
(`dockrion.web`), the Dockfile, logs, metrics and TLS; only `commands` and `terminal` import it.
"""
