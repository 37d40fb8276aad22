"""The run log, owner messages and shared state in Redis, for any number of replicas of a service.

Import `RedisBackend` from here, and only where the Dockfile asks for it: this package alone needs
redis-py. It imports the backend protocols, `events`, `errors` and `logs`. A command passes through
`backend` (the protocol), `store` or `index` (the commands), `keys` and `records` (names, scripts,
encodings) and `client` (connections); `inbox` receives what other replicas send, `subscriptions`
wakes readers, `leases` keeps and reaps runs, and `scripts` holds the Lua.
"""

from dockrion.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
