"""A watch: its timer, and delivery in place of a wake-up."""

import asyncio

import pytest

from dockrion.backends.fanout import Watch
from dockrion.backends.pages import Page
from tests.backends.conformance import entries, sequences
from tests.support import wait_until

TIMEOUT_SECONDS = 10.0


def timers() -> int:
    loop = asyncio.get_running_loop()
    return sum(not each.cancelled() for each in loop._scheduled)  # type: ignore[attr-defined]


async def test_many_waits_share_one_timer_which_close_cancels() -> None:
    before, watch = timers(), Watch(lambda _after: None)
    for _ in range(100):
        waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
        await asyncio.sleep(0)
        watch.wake()
        assert await waiting
        assert timers() == before + 1
    watch.close()
    assert timers() == before


async def test_shorter_wait_after_a_longer_one_ends_in_time() -> None:
    watch = Watch(lambda _after: None)
    waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
    await asyncio.sleep(0)
    watch.wake()
    await waiting
    async with asyncio.timeout(TIMEOUT_SECONDS / 2):
        assert not await watch.wait(0.01)
    watch.close()


async def test_timer_that_fires_too_early_is_set_anew() -> None:
    watch, now = Watch(lambda _after: None), asyncio.get_running_loop().time
    waiting = asyncio.create_task(watch.wait(0.02))
    await asyncio.sleep(0)
    watch.wake()
    await waiting
    began = now()
    assert not await watch.wait(0.1)
    assert now() - began >= 0.09
    watch.close()


async def test_delivery_replaces_a_wake_up_only_while_the_task_waits() -> None:
    offered: list[int] = []

    def peek(after: int) -> Page:
        return Page(entries(after + 1, after + 2))

    def deliver(page: Page) -> bool:
        offered.extend(sequences(page))
        return len(offered) < 6

    watch = Watch(peek)
    watch.idle, watch.deliver = TIMEOUT_SECONDS, deliver
    watch.wake()
    assert await watch.wait(TIMEOUT_SECONDS)
    assert offered == []
    waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
    await asyncio.sleep(0)
    watch.wake()
    watch.wake()
    await asyncio.sleep(0)
    assert not waiting.done()
    assert watch.position == 4
    watch.wake()
    await wait_until(waiting.done)
    assert waiting.result()
    assert offered == [1, 2, 3, 4, 5, 6]
    assert watch.position == 4  # the task reads what was not delivered
    watch.close()


@pytest.mark.parametrize(
    "page",
    [
        None,
        Page([]),
        Page(entries(1, 33)),
        Page(entries(1, 2), more=True),
        Page(entries(1, 1, "complete"), closed=True),
    ],
    ids=["needs I/O", "empty", "burst", "more", "end of the run"],
)
async def test_task_is_woken_for_what_it_has_to_read_itself(page: Page | None) -> None:
    offered: list[Page] = []

    def deliver(page: Page) -> bool:
        offered.append(page)
        return True

    watch = Watch(lambda _after: page)
    watch.idle, watch.deliver = TIMEOUT_SECONDS, deliver
    waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
    await asyncio.sleep(0)
    watch.wake()
    assert await waiting
    assert (offered, watch.position) == ([], 0)
    watch.close()
