"""Coroutines that sync code in a thread returns after its caller has left."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from dockrion.threads import finish_in_thread, in_thread
from tests.support import wait_until

InThread = Callable[[Callable[[], Any], str], Awaitable[Any]]


async def outcome() -> str:
    return "late"


def is_closed(coroutine: Coroutine[Any, Any, Any]) -> bool:
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.parametrize("run", [in_thread, finish_in_thread])
async def test_coroutine_for_a_caller_that_was_cancelled_is_closed(run: InThread) -> None:
    began, go, coroutine = threading.Event(), threading.Event(), outcome()

    def late() -> Any:
        began.set()
        go.wait(10)
        return coroutine

    calling = asyncio.ensure_future(run(late, "late"))
    await wait_until(began.is_set)
    calling.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await wait_until(lambda: is_closed(coroutine))


async def test_coroutine_that_comes_while_its_caller_is_cancelled_is_closed() -> None:
    threads, coroutine = set(threading.enumerate()), outcome()
    calling = asyncio.ensure_future(in_thread(lambda: coroutine, "late"))
    await asyncio.sleep(0)
    for thread in set(threading.enumerate()) - threads:  # its result comes after this block of the loop
        thread.join()
    asyncio.get_running_loop().call_soon(calling.cancel)  # and wakes the caller after this
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert is_closed(coroutine)
