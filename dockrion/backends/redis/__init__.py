"""The run log, owner messages and shared state in Redis, for any number of replicas of a service.

Import the names below from here, and only where the Dockfile asks for it: this package alone needs
redis-py. It imports the backend protocols, `events`, `errors` and `logs`. A command passes through
`backend` (the protocol), `store` or `index` (the commands), `keys` and `records` (names, scripts,
encodings) and `client`, which has `connections` to one server, to a `cluster` or to what a `sentinel`
names; `inbox` receives what other replicas send, `subscriptions` wakes readers, `leases` keeps and `reaper`
ends runs, `unconfirmed` has those whose creation got no reply, `watchdog` keeps them while the event loop
is blocked, `declarations` notices services that share keys by mistake, `outbox` keeps what is to be
delivered to others, and `scripts` holds the Lua.
"""

from dockrion.backends.redis.backend import RedisBackend
from dockrion.backends.redis.client import check_url
from dockrion.backends.redis.declarations import Declaration
from dockrion.backends.redis.diagnosis import find_problem
from dockrion.backends.redis.health import Observer

__all__ = ["Declaration", "Observer", "RedisBackend", "check_url", "find_problem"]
