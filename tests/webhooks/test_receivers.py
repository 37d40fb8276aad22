"""How many requests a receiver has at once, and what happens while it is away."""

import asyncio

import pytest

from dockrion.webhooks import receivers
from dockrion.webhooks.receivers import Busy, Receiver, Receivers
from tests.auth.clock import Clock


async def ask(receiver: Receiver, *, successfully: bool) -> None:
    async with receiver.slot():
        receiver.responded(successfully=successfully)


async def fail(receiver: Receiver, times: int) -> None:
    for _ in range(times):
        await ask(receiver, successfully=False)


async def test_a_receiver_has_so_many_requests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "_REQUESTS", 2)
    monkeypatch.setattr(receivers, "_WAITING", 1)
    monkeypatch.setattr(receivers, "_WAIT_SECONDS", 0.05)
    receiver = Receiver()
    async with receiver.slot(), receiver.slot():
        waiting = asyncio.create_task(ask(receiver, successfully=True))
        await asyncio.sleep(0)
        with pytest.raises(Busy):  # at once: so many wait already
            async with asyncio.timeout(0.01):
                await ask(receiver, successfully=True)
        with pytest.raises(Busy):  # when it has waited long enough
            await waiting
    assert receiver.users == 0
    await ask(receiver, successfully=True)


async def test_a_receiver_that_is_away_has_one_request_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(receivers, "time", clock)
    monkeypatch.setattr(receivers, "_FIRST_PAUSE_SECONDS", 50.0)
    monkeypatch.setattr(receivers, "_LONGEST_PAUSE_SECONDS", 1000.0)
    receiver = Receiver()
    await fail(receiver, receivers._FAILURES)
    await ask(receiver, successfully=False)  # finds out whether it is back
    with pytest.raises(Busy) as busy:
        await ask(receiver, successfully=True)
    assert 0 < busy.value.seconds <= 60
    clock.passed += busy.value.seconds
    await ask(receiver, successfully=False)
    with pytest.raises(Busy) as longer:
        await ask(receiver, successfully=True)
    assert longer.value.seconds > 60
    clock.passed += longer.value.seconds
    await ask(receiver, successfully=True)
    await fail(receiver, receivers._FAILURES)  # it is back, so nothing is held against it


async def test_failures_between_successes_do_not_count() -> None:
    receiver = Receiver()
    for _ in range(3):
        await fail(receiver, receivers._FAILURES - 1)
        await ask(receiver, successfully=True)
    await fail(receiver, 1)


async def test_idle_receivers_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "_KNOWN", 3)
    known = Receivers()
    used = known.get("https://0.example")
    async with used.slot():
        for number in range(10):
            assert known.get(f"https://{number}.example") is known.get(f"https://{number}.example")
        assert known.get("https://0.example") is used
        assert len(known._known) <= 3
