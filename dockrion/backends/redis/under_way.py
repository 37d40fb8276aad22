"""What is under way on connections, which has to end before they are closed.

For redis-py leaves a connection open that is connecting while its pool is closed, and a command whose
connection is closed makes another one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_CLOSE_AGAIN_SECONDS = 0.02


class UnderWay:
    """Blocks that can be ended before their time.

    Args:
        ended: Returns the error of a block that was ended or refused.
    """

    def __init__(self, ended: Callable[[], Exception] = TimeoutError) -> None:
        self._ended = ended
        self._limits: set[asyncio.Timeout] = set()
        self._closed = False

    @asynccontextmanager
    async def limited(self, seconds: float | None = None) -> AsyncIterator[None]:
        """End a block after so many seconds; by default, only when `end` or `close` is called."""
        if self._closed:
            raise self._ended()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError as error:
            if limit.expired():
                raise self._ended() from error
            raise
        finally:
            self._limits.discard(limit)

    def end(self) -> None:
        """End the blocks under way."""
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(0)

    async def close(self, close_connections: Callable[[], Awaitable[None]]) -> None:
        """Refuse further blocks, end those under way, and then close their connections."""
        self._closed = True
        self.end()
        while self._limits:
            await asyncio.sleep(_CLOSE_AGAIN_SECONDS)
            await close_connections()  # redis-py may swallow the cancellation, and wait for a reply
        await close_connections()
