"""Signals wake an event loop that waits for nothing else."""

import asyncio
import selectors
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dockrion.console.commands import _on_signals
from dockrion.server.process import _stopped_by_signal
from dockrion.signals import waking
from tests.support import TIMEOUT_SECONDS


class Selector(selectors.DefaultSelector):
    """Says when it begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 1:
            self.waits.set()
        return super().select(timeout)


@pytest.fixture
def selector() -> Iterator[Selector]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    yield Selector()
    for number, handler in before.items():
        signal.signal(number, handler)


async def serves() -> None:
    with waking(asyncio.get_running_loop()):
        await asyncio.wait_for(_stopped_by_signal(), TIMEOUT_SECONDS)


async def shows() -> None:
    interrupted = asyncio.Event()
    with _on_signals(interrupted.set):
        await asyncio.wait_for(interrupted.wait(), TIMEOUT_SECONDS)


@pytest.mark.parametrize("waits", [serves, shows])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_that_ends_no_wait_wakes_the_loop(selector: Selector, waits: Any, number: int) -> None:
    """Another thread gets it, which is as if it came in the instant before the main thread waits."""

    def send() -> None:
        selector.waits.wait()
        signal.pthread_kill(threading.get_ident(), number)

    thread, began = threading.Thread(target=send), time.monotonic()
    thread.start()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(waits())
    thread.join()
    assert time.monotonic() - began < TIMEOUT_SECONDS / 2  # nothing else wakes the loop before its timeout
    assert signal.set_wakeup_fd(-1) == -1
