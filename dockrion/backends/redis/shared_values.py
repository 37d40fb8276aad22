"""What all replicas of a service share besides runs: counters, holders, claims, the secret."""

import asyncio
import secrets

from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.health import Health
from dockrion.backends.redis.keys import CLAIM, COUNT, HOLD, SECRET, Keys
from dockrion.backends.shared_state import SECRET_BYTES, WindowCount
from dockrion.errors import ServiceUnavailable

_SECRET_TTL = 86_400
_PING_TTL = 60
_PING_SECONDS = 2.0


class SharedValues:
    """Implements `SharedState`, whose docstrings apply.

    Args:
        client: The connections.
        keys: The names.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def count(self, name: str, window: int) -> WindowCount:
        ((count, milliseconds),) = await self._client.send(COUNT((self._keys.counter(name, window),), window))
        return WindowCount(count, milliseconds / 1000)

    async def hold(self, name: str, holder: str, seconds: int) -> bool:
        (done,) = await self._client.send(HOLD((self._keys.holder(name),), holder, seconds))
        return bool(done)

    async def claim(self, name: str, value: bytes, seconds: int, replacing: bytes | None) -> bytes:
        (stored,) = await self._client.send(
            CLAIM((self._keys.claim(name),), value, seconds, replacing or b"")
        )
        return bytes(stored)

    async def secret(self) -> bytes:
        offered = secrets.token_bytes(SECRET_BYTES)
        (stored,) = await self._client.send(SECRET((self._keys.secret,), offered, _SECRET_TTL))
        return bytes(stored)

    async def ping(self) -> None:
        """Return if Redis is healthy and accepts writes.

        Raises:
            ServiceUnavailable: It is not, or does not respond in time.
        """
        health = self._client.health
        if health.state is not Health.HEALTHY:
            raise ServiceUnavailable(health.refusal or "the backend cannot be used at present")
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._client.send(("SET", self._keys.ping, 1, "EX", _PING_TTL))
        except TimeoutError:
            raise ServiceUnavailable("the backend does not respond") from None
