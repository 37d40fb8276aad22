"""Threads for what LangGraph and LangChain run beside the event loop: sync nodes, tools and chains.

They use the loop's default executor, which has few threads, and leave one behind that they no
longer wait for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

_LEAST = 32
_NAME = "asyncio"  # as the loop's own are called
_working: ContextVar[set[Future[Any]] | None] = ContextVar("dockrion_node_threads", default=None)


class NodeThreads(ThreadPoolExecutor):
    """An event loop's default executor, which knows what works for which run.

    Installs itself in the running loop.

    Args:
        threads: How many runs may work at once.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(max(threads, _LEAST), thread_name_prefix=_NAME)
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(self)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # With the context, as `asyncio.to_thread` does and `run_in_executor` does not.
        future = super().submit(copy_context().run, function, *args, **kwargs)
        if (working := _working.get()) is not None:
            working.add(future)
            future.add_done_callback(working.discard)
        return future

    def close(self) -> None:
        """Leave the loop to another executor, and threads that do not end to themselves."""
        self._loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix=_NAME))
        self.shutdown(wait=False, cancel_futures=True)


async def with_its_threads(work: Awaitable[Any]) -> Any:
    """Await work; when cancelled, still wait until the threads that it began have ended.

    Args:
        work: A coroutine that has not begun.
    """
    working: set[Future[Any]] = set()
    token = _working.set(working)
    try:
        return await work
    except asyncio.CancelledError:
        await _ended(working)
        raise
    finally:
        _working.reset(token)


async def _ended(working: set[Future[Any]]) -> None:
    while left := [asyncio.wrap_future(each) for each in tuple(working) if not each.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError:
            continue  # it was cancelled already: that it is over is what is waited for
