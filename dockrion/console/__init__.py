"""The commands with which people use a service from a terminal: `dockrion invoke` and `dockrion watch`.

`commands` has both; the command line imports it when one of them is used. `arguments` parses what the client
commands have in common, `display` shows events; `dockrion.load` uses both, too. Imports `dockrion.client`.
"""
