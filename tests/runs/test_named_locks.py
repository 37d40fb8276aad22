"""Locks by name: their order, what failures do to them, and that nothing is left of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dockrion.backends.memory import MemoryBackend
from dockrion.errors import ServiceUnavailable
from dockrion.runs import named_locks
from dockrion.runs.named_locks import NamedLocks
from tests.support import wait_until


@pytest.fixture
async def backend() -> AsyncIterator[MemoryBackend]:
    made = MemoryBackend(max_events=10, ttl=60)
    yield made
    await made.aclose()
    assert not made._holders


class Holder:
    """A run that keeps a lock until it is told to release it."""

    def __init__(self, locks: NamedLocks, entered: list[str], name: str) -> None:
        self.release = asyncio.Event()
        self.task = asyncio.create_task(self._hold(locks, entered, name))

    async def _hold(self, locks: NamedLocks, entered: list[str], name: str) -> None:
        async with locks.held("n"):
            entered.append(name)
            await self.release.wait()
            entered.remove(name)

    async def leave(self) -> None:
        self.release.set()
        await self.task


async def test_lock_goes_to_the_runs_of_a_process_in_order(backend: MemoryBackend) -> None:
    locks = NamedLocks(backend)
    entered: list[str] = []
    first, second, third = [Holder(locks, entered, name) for name in "abc"]
    await wait_until(lambda: entered == ["a"])
    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task
    await first.leave()
    await wait_until(lambda: entered == ["c"])
    await third.leave()
    assert not locks._queues


async def test_another_replica_gets_the_lock_after_this_one(backend: MemoryBackend) -> None:
    entered: list[str] = []
    here, there = (Holder(NamedLocks(backend), entered, name) for name in ("here", "there"))
    await wait_until(lambda: len(entered) == 1)
    first, second = (here, there) if entered == ["here"] else (there, here)
    await first.leave()
    await wait_until(lambda: len(entered) == 1)
    await second.leave()


async def test_lock_is_released_when_its_run_fails(backend: MemoryBackend) -> None:
    locks = NamedLocks(backend)
    with pytest.raises(LookupError):
        async with locks.held("n"):
            raise LookupError
    async with locks.held("n"):
        pass
    assert not locks._queues


async def test_lock_that_is_held_for_long_is_renewed(
    backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_locks, "HOLD_SECONDS", 1)
    monkeypatch.setattr(named_locks, "_RENEW_SECONDS", 0.001)
    renewals: list[Any] = []
    hold = backend.hold

    async def counted(name: str, holder: str, seconds: int) -> bool:
        renewals.append(seconds)
        return await hold(name, holder, seconds)

    monkeypatch.setattr(backend, "hold", counted)
    async with NamedLocks(backend).held("n"):
        await wait_until(lambda: len(renewals) > 5)
    assert renewals[-1] == 0


async def test_storage_that_is_away_delays_a_lock(
    backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, failures = backend.hold, [ServiceUnavailable("away")] * 2

    async def away(name: str, holder: str, seconds: int) -> bool:
        if failures:
            raise failures.pop()
        return await hold(name, holder, seconds)

    monkeypatch.setattr(backend, "hold", away)
    async with NamedLocks(backend).held("n"):
        assert not failures
