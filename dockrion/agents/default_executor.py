"""Threads in which LangGraph and LangChain run sync nodes, tools and chains.

They use the event loop's default executor. asyncio's own has few threads, and when a run is cancelled
no one waits for its threads: the one installed here tracks which threads work for which run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

_MIN_THREADS = 32
_THREAD_NAME = "asyncio"  # as asyncio's own default executor names them
_started: ContextVar[set[Future[Any]] | None] = ContextVar("dockrion_run_threads", default=None)


class DefaultExecutor(ThreadPoolExecutor):
    """Installs itself as the default executor of the running event loop.

    Args:
        threads: How many runs may work at once.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(max(threads, _MIN_THREADS), thread_name_prefix=_THREAD_NAME)
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(self)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # In the caller's context, as `asyncio.to_thread` does and `run_in_executor` does not.
        future = super().submit(copy_context().run, function, *args, **kwargs)
        if (started := _started.get()) is not None:
            started.add(future)
            future.add_done_callback(started.discard)
        return future

    def close(self) -> None:
        """Give the loop another executor, and leave threads that do not end behind."""
        self._loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix=_THREAD_NAME))
        self.shutdown(wait=False, cancel_futures=True)


async def run_joining_threads(work: Awaitable[Any]) -> Any:
    """Await a coroutine; when cancelled, wait until the threads that it has started are done.

    Args:
        work: A coroutine that has not started.
    """
    started: set[Future[Any]] = set()
    token = _started.set(started)
    try:
        return await work
    except asyncio.CancelledError:
        await _join(started)
        raise
    finally:
        _started.reset(token)


async def _join(started: set[Future[Any]]) -> None:
    while pending := [asyncio.wrap_future(future) for future in tuple(started) if not future.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError:
            continue  # cancelled already; the run is over only when its threads are
