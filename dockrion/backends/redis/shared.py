"""What the replicas of a service have in common beside their runs."""

import secrets

from dockrion.backends.redis.client import Link
from dockrion.backends.redis.keys import COUNT, SECRET, Keys
from dockrion.backends.shared_state import SECRET_BYTES, WindowCount

_SECRET_TTL = 86_400


class Shared:
    """Counts and keeps for all replicas: each method is one round trip.

    Args:
        link: The connections.
        keys: The names.
    """

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def count(self, name: str, window: int) -> WindowCount:
        """Count one use of something; see `Backend.count`."""
        ((used, milliseconds),) = await self._link.send(COUNT((self._keys.uses(name, window),), window))
        return WindowCount(used, milliseconds / 1000)

    async def secret(self) -> bytes:
        """Return the bytes that are the service's secret; see `Backend.secret`."""
        offered = secrets.token_bytes(SECRET_BYTES)
        (held,) = await self._link.send(SECRET((self._keys.secret,), offered, _SECRET_TTL))
        return bytes(held)
