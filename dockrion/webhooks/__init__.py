"""Webhooks: events of runs that are sent to other services (https://www.standardwebhooks.com).

Loaded only where the Dockfile has the section `webhooks`. The backend copies events into its outbox, as
`targets` says; `deliverer` takes them from there, whichever replica has stored them, and `sender` sends them,
signed by `signing`. Where a caller's URL leads is checked by `allowed_hosts`, at each connection.
Imports `backends`, `dockfile`, `events`, `http_client`, `logs`, `metrics` and `protocols`.
"""
