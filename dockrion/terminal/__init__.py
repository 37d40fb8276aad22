"""What `dockrion run` shows to a person in a terminal: where it serves, its log as text, what it waits for.

`log_text` formats log records, `tracebacks` what agents raised; `announcer` tells how the service starts and
ends. The command line imports this only when the output is for a person. Imports `console`, `dockfile`,
`logs` and `server`.
"""
