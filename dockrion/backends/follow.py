"""Reading a run, history and live, as one loop over any backend."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from dockrion.backends.base import Backend, Page, Watch
from dockrion.errors import RunNotFound, ServiceUnavailable

PAGE_EVENTS = 512
IDLE = Page(())
_RETRY_SECONDS = 1.0
_LAST_WORD_SECONDS = 5.0


@asynccontextmanager
async def follow(
    backend: Backend, run_id: str, after: int, *, idle: float, limit: int | None = None
) -> AsyncIterator[AsyncIterator[Page]]:
    """Read a run's events after a position, as they come, until the run is over.

    The watch is armed on entering, before the first read, so nothing falls between history
    and live.

    Args:
        backend: Where the run is.
        run_id: The run.
        after: The last sequence the reader has, 0 for none.
        idle: Seconds without events after which `IDLE` is yielded, each time anew.
        limit: The most subscribers the run may have, None not to be counted.

    Yields:
        An iterator of pages with at least one event, or `IDLE`. Where a page does not start
        right after the position reached, the events between are gone.

    Raises:
        RunNotFound: No such run; while it is read: its storage has lost it.
        TooManySubscribers: The limit is reached.
        ServiceUnavailable: The storage is away on entering. Later it is waited for.
    """
    async with (
        backend.watch(run_id, limit=limit) as watch,
        aclosing(_pages(backend, run_id, after, idle, watch)) as pages,
    ):
        yield pages


async def _pages(
    backend: Backend, run_id: str, after: int, idle: float, watch: Watch
) -> AsyncGenerator[Page, None]:
    now = asyncio.get_running_loop().time
    quiet_until = now() + idle
    gone_at = None
    while True:
        longest = idle
        try:
            page = await backend.read(run_id, after, PAGE_EVENTS)
            gone_at = None
        except RunNotFound:  # its owner may have a last word
            gone_at = gone_at or now() + _LAST_WORD_SECONDS
            if now() >= gone_at:
                raise
            page, longest = IDLE, gone_at - now()
        except ServiceUnavailable:  # the watch wakes when it is back
            page, longest = IDLE, _RETRY_SECONDS
        if page.entries:
            after = page.entries[-1].sequence
            yield page
            quiet_until = now() + idle
        if page.closed:
            return
        if not page.more:
            await watch.wait(min(quiet_until - now(), longest))
        if now() >= quiet_until:
            yield IDLE
            quiet_until = now() + idle
