"""The lag of the event loop."""

import asyncio

import pytest

from dockrion.metrics import LoopLag, event_loop
from tests.support import wait_until


async def test_lag_is_measured_at_intervals_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop, "_INTERVAL_SECONDS", 0.01)
    seen: list[float] = []
    lag = LoopLag(seen.append)
    await wait_until(lambda: len(seen) > 3)
    assert min(seen) >= 0
    lag.stop()
    count = len(seen)
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.03, done.set)
    await done.wait()
    assert len(seen) == count
