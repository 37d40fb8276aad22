"""Sync code in daemon threads, beside the event loop.

Daemon threads, so that code that never returns cannot keep the process from exiting.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NamedTuple, TypeVar

from dockrion.errors import clear_tracebacks

_MAX_ON_LOOP = 32 * 1024  # bytes
T = TypeVar("T")


class _Result(NamedTuple):
    """A thread's result. A future cannot hold every exception itself: `StopIteration` is refused."""

    returned: Any = None
    error: BaseException | None = None

    def value(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.returned

    def discard(self) -> None:
        """Release what nobody gets; a coroutine that is neither awaited nor closed would cause a warning."""
        clear_tracebacks(self.error)
        if inspect.iscoroutine(self.returned):
            self.returned.close()


async def in_thread(function: Callable[[], Any], name: str) -> Any:
    """Run sync code in a new thread; when cancelled, return at once and abandon the thread.

    Args:
        function: The code; it runs with a copy of this task's context variables.
        name: The thread's name.

    Raises:
        BaseException: Whatever the code raises.
    """
    future = _start(function, name)
    try:
        result = await future
    except asyncio.CancelledError:
        if not future.cancelled():  # the thread was done at the same time
            future.result().discard()
        raise
    return result.value()


async def in_thread_if_large(compute: Callable[[], T], size: int, name: str) -> T:
    """Return a computation's result; it is made in a thread if it would delay the event loop.

    Args:
        compute: The computation: filtering, masking or converting what has that size.
        size: The size, in bytes.
        name: The thread's name.
    """
    if size <= _MAX_ON_LOOP:
        return compute()
    computed: T = await in_thread(compute, name)
    return computed


async def finish_in_thread(function: Callable[[], Any], name: str) -> Any:
    """Run sync code in a new thread; when cancelled, return only after the thread is done.

    Args:
        function: The code; it runs with a copy of this task's context variables.
        name: The thread's name.

    Raises:
        BaseException: Whatever the code raises.
    """
    future = _start(function, name)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.result().discard()
        raise cancelled
    return future.result().value()


def _start(function: Callable[[], Any], name: str) -> asyncio.Future[_Result]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()
    context = copy_context()

    def work() -> None:
        try:
            result = _Result(context.run(function))
        except BaseException as error:  # also SystemExit, which the caller handles
            result = _Result(error=error)
        with suppress(RuntimeError):  # the loop is closed, so no one waits for the result
            loop.call_soon_threadsafe(_settle, future, result)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future


def _settle(future: asyncio.Future[_Result], result: _Result) -> None:
    if future.done():  # the caller has left
        result.discard()
    else:
        future.set_result(result)
