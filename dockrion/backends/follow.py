"""Following a run: its stored and its live events, as one loop over any backend."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from dockrion.backends.fanout import Watch
from dockrion.backends.pages import IDLE, PAGE_EVENTS, Page
from dockrion.backends.run_log import RunLog
from dockrion.errors import RunNotFound, ServiceUnavailable

_RETRY_SECONDS = 1.0
_RECREATED_SECONDS = 5.0


def follow(
    log: RunLog,
    run_id: str,
    after: int,
    incarnation: str | None = None,
    *,
    idle: float,
    limit: int | None = None,
) -> "Pages":
    """Read a run's events after a position, and those that follow as they are stored, to the run's end.

    The watch is armed on entering, before the first read, so that no event falls between history
    and live. All pages are of one incarnation of the run, that which the watch found.

    Args:
        log: Where the run is stored.
        run_id: The run.
        after: The last sequence the reader has, 0 for none.
        incarnation: The run's incarnation, None for the run that has the id now.
        idle: Seconds without events after which `IDLE` is yielded, repeatedly.
        limit: The most subscribers that the run may have; None not to count as one.

    Returns:
        An asynchronous context manager and iterator. It yields pages with at least one event, or
        `IDLE`. Where a page does not continue the one before, the window has dropped the events
        between them.

    Raises:
        RunNotFound: On entering: no such run. While iterating: the storage has lost the run.
        TooManySubscribers: On entering: the limit is reached.
        ServiceUnavailable: On entering: the storage cannot be reached. While iterating, this waits
            until it can be.
    """
    return Pages(log, run_id, after, incarnation, idle, limit)


class Pages(AsyncIterator[Page]):
    """The iterator that `follow` returns."""

    __slots__ = ("_log", "_pages", "_run_id", "_watch", "_watching")

    def __init__(
        self, log: RunLog, run_id: str, after: int, incarnation: str | None, idle: float, limit: int | None
    ) -> None:
        self._log = log
        self._run_id = run_id
        self._watching = log.watch(run_id, incarnation, limit=limit)
        self._watch: Watch
        self._pages = self._pull(after, idle)

    async def __aenter__(self) -> Self:
        self._watch = await self._watching.__aenter__()
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

    @property
    def incarnation(self) -> str:
        """The incarnation of the run that this follows, once it is entered."""
        return self._watch.incarnation

    def deliver_to(self, deliver: Callable[[Page], bool]) -> None:
        """Offer pages to a function while this waits, as `fanout.py` explains.

        Args:
            deliver: Writes the page and returns True, or returns False for the page to be yielded.
        """
        self._watch.deliver = deliver

    async def _pull(self, after: int, idle: float) -> AsyncGenerator[Page, None]:
        now = asyncio.get_running_loop().time
        watch = self._watch
        watch.position, watch.idle = after, idle  # a delivery advances the position too
        watch.restart_idle()
        give_up_at = None
        while True:
            at_most = idle
            try:
                page = await self._log.read(self._run_id, watch.position, PAGE_EVENTS, watch.incarnation)
                give_up_at = None
            except RunNotFound:  # the owner may create it again, with a terminal event
                give_up_at = give_up_at or now() + _RECREATED_SECONDS
                if now() >= give_up_at:
                    raise
                page, at_most = IDLE, give_up_at - now()
            except ServiceUnavailable:  # the watch is woken when the storage is back
                page, at_most = IDLE, _RETRY_SECONDS
            if page.entries:
                watch.position = page.entries[-1].sequence
                yield page
                watch.restart_idle()
            if page.closed:
                if not page.entries and watch.position > after:  # the events it has are no longer in the log
                    raise RunNotFound(self._run_id)
                return
            if not page.more:
                await watch.wait(min(watch.idle_at - now(), at_most))
            if now() >= watch.idle_at:
                yield IDLE
                watch.restart_idle()
