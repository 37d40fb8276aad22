"""Reading a run, history and live, as one loop over any backend."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from dockrion.backends import Backend
from dockrion.backends.pages import PAGE_EVENTS, Page, Watch
from dockrion.errors import RunNotFound, ServiceUnavailable

IDLE = Page(())
_FEW = 32  # events; where more come at once, those who are woken find still more to write together
_RETRY_SECONDS = 1.0
_LAST_WORD_SECONDS = 5.0


def follow(backend: Backend, run_id: str, after: int, *, idle: float, limit: int | None = None) -> "Pages":
    """Read a run's events after a position, as they come, until the run is over.

    The watch is armed on entering, before the first read, so nothing falls between history
    and live.

    Args:
        backend: Where the run is.
        run_id: The run.
        after: The last sequence the reader has, 0 for none.
        idle: Seconds without events after which `IDLE` is yielded, each time anew.
        limit: The most subscribers the run may have, None not to be counted.

    Returns:
        What has to be entered, and yields pages with at least one event, or `IDLE`. Where a page
        does not start right after the position reached, the events between are gone.

    Raises:
        RunNotFound: No such run; while it is read: its storage has lost it.
        TooManySubscribers: The limit is reached.
        ServiceUnavailable: The storage is away on entering. Later it is waited for.
    """
    return Pages(backend, run_id, after, idle, limit)


class Pages(AsyncIterator[Page]):
    """A run's events after a position, as they come.

    Attributes:
        take: Called with a page that has come while the reader waits; returns whether it took
            it at once, so that nothing has to wake for it. It does not wait itself.
    """

    __slots__ = (
        "_after",
        "_backend",
        "_idle",
        "_now",
        "_pages",
        "_quiet_until",
        "_run_id",
        "_watch",
        "_watching",
        "take",
    )

    def __init__(self, backend: Backend, run_id: str, after: int, idle: float, limit: int | None) -> None:
        self.take: Callable[[Page], bool] | None = None
        self._backend = backend
        self._run_id = run_id
        self._after = after
        self._idle = idle
        self._watching = backend.watch(run_id, limit=limit)
        self._watch: Watch
        self._pages = self._read()
        self._now = asyncio.get_running_loop().time
        self._quiet_until = 0.0

    async def __aenter__(self) -> Self:
        self._watch = await self._watching.__aenter__()
        self._watch.look = self._look
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._pages.aclose()
        finally:
            await self._watching.__aexit__(kind, error, trace)

    def __anext__(self) -> Awaitable[Page]:
        return self._pages.__anext__()

    async def _read(self) -> AsyncGenerator[Page, None]:
        now = self._now
        gone_at = None
        self._quiet_until = now() + self._idle
        while True:
            longest = self._idle
            try:
                page = await self._backend.read(self._run_id, self._after, PAGE_EVENTS)
                gone_at = None
            except RunNotFound:  # its owner may have a last word
                gone_at = gone_at or now() + _LAST_WORD_SECONDS
                if now() >= gone_at:
                    raise
                page, longest = IDLE, gone_at - now()
            except ServiceUnavailable:  # the watch wakes when it is back
                page, longest = IDLE, _RETRY_SECONDS
            if page.entries:
                self._after = page.entries[-1].sequence
                yield page
                self._quiet_until = now() + self._idle
            if page.closed:
                return
            if not page.more:
                await self._watch.wait(min(self._quiet_until - now(), longest))
            if now() >= self._quiet_until:
                yield IDLE
                self._quiet_until = now() + self._idle

    def _look(self) -> bool:
        """Hand on what has come, if that can be done without waking the reader."""
        if self.take is None:
            return False
        page = self._watch.at_hand(self._after)
        if page is None or not 0 < len(page.entries) <= _FEW or page.closed or page.more:
            return False
        try:
            if not self.take(page):
                return False
        except Exception:  # a reader's trouble is not the writer's: the reader meets it by itself
            return False
        self._after = page.entries[-1].sequence
        self._watch.until = self._quiet_until = self._now() + self._idle
        return True
