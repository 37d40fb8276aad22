"""A watch: one timer for many waits."""

import asyncio

from dockrion.backends.pages import Watch
from tests.support import wait_until

TIMEOUT_SECONDS = 10.0


def timers() -> int:
    loop = asyncio.get_running_loop()
    return sum(not each.cancelled() for each in loop._scheduled)  # type: ignore[attr-defined]


async def test_many_waits_have_one_timer_which_ends_with_the_watch() -> None:
    before, watch = timers(), Watch(lambda _after: None)
    for _ in range(100):
        waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
        await asyncio.sleep(0)
        watch.wake()
        assert await waiting
        assert timers() == before + 1
    watch.close()
    assert timers() == before


async def test_a_shorter_wait_after_a_longer_one_is_over_in_time() -> None:
    watch = Watch(lambda _after: None)
    waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
    await asyncio.sleep(0)
    watch.wake()
    await waiting
    async with asyncio.timeout(TIMEOUT_SECONDS / 2):
        assert not await watch.wait(0.01)
    watch.close()


async def test_a_timer_that_rings_too_early_is_set_anew() -> None:
    watch, now = Watch(lambda _after: None), asyncio.get_running_loop().time
    waiting = asyncio.create_task(watch.wait(0.02))
    await asyncio.sleep(0)
    watch.wake()
    await waiting
    began = now()
    assert not await watch.wait(0.1)
    assert now() - began >= 0.09
    watch.close()


async def test_looking_replaces_a_wake_up_while_somebody_waits_only() -> None:
    looked: list[bool] = []
    watch = Watch(lambda _after: None)

    def look() -> bool:
        looked.append(True)
        return len(looked) < 3

    watch.look = look
    watch.wake()
    assert await watch.wait(TIMEOUT_SECONDS)
    assert not looked
    waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
    await asyncio.sleep(0)
    watch.wake()
    watch.wake()
    await asyncio.sleep(0)
    assert not waiting.done()
    watch.wake()
    await wait_until(waiting.done)
    assert waiting.result()
    assert len(looked) == 3
    watch.close()
