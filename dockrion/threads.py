"""Running sync code beside the event loop.

The threads are daemons: code that never ends must not keep the process alive.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NamedTuple


class _Ended(NamedTuple):
    """How a thread's work ended. Data, not the future's own exception: that may be no StopIteration."""

    result: Any = None
    error: BaseException | None = None

    def value(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


async def in_thread(function: Callable[[], Any], name: str) -> Any:
    """Run sync code in a thread of its own; when cancelled, leave it behind.

    Args:
        function: What to run, with this task's context variables.
        name: The thread's name.

    Raises:
        BaseException: Whatever it raises.
    """
    return (await _start(function, name)).value()


async def finish_in_thread(function: Callable[[], Any], name: str) -> Any:
    """Run sync code in a thread of its own; when cancelled, still wait until it is over.

    Args:
        function: What to run, with this task's context variables.
        name: The thread's name.

    Raises:
        BaseException: Whatever it raises.
    """
    ended = _start(function, name)
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.wait((ended,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return ended.result().value()


def _start(function: Callable[[], Any], name: str) -> asyncio.Future[_Ended]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Ended] = loop.create_future()
    values = copy_context()

    def work() -> None:
        try:
            ended = _Ended(values.run(function))
        except BaseException as error:  # SystemExit too is the caller's to judge
            ended = _Ended(error=error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_settle, future, ended)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future


def _settle(future: asyncio.Future[_Ended], ended: _Ended) -> None:
    if not future.done():
        future.set_result(ended)
