import asyncio

from dockrion.background_tasks import BackgroundTasks
from tests.support import wait_until


async def test_a_task_is_referenced_until_it_is_done() -> None:
    tasks = BackgroundTasks()
    go = asyncio.Event()
    task = tasks.start(go.wait())
    assert list(tasks) == [task]
    go.set()
    await wait_until(lambda: not len(tasks))
    assert task.result() is True


async def test_cancel_waits_for_the_cleanup_of_tasks() -> None:
    tasks = BackgroundTasks()
    cleaned: list[int] = []
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    tasks.start(work())
    await started.wait()
    await tasks.cancel(timeout=5.0)
    assert cleaned == [1]
    assert not len(tasks)


async def test_cancel_returns_after_the_timeout() -> None:
    tasks = BackgroundTasks()
    ended = asyncio.Event()
    started = asyncio.Event()

    async def stubborn() -> None:
        started.set()
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError:
                continue

    task = tasks.start(stubborn())
    await started.wait()
    await tasks.cancel(timeout=0.01)
    assert list(tasks) == [task]
    ended.set()
    await task


async def test_cancel_without_tasks_returns() -> None:
    await BackgroundTasks().cancel(timeout=0.0)


async def test_cancel_until_done_outlasts_swallowed_cancellations() -> None:
    tasks = BackgroundTasks()
    swallowed: list[int] = []
    started = asyncio.Event()

    async def connect() -> None:
        started.set()
        while len(swallowed) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(1)
        await asyncio.Event().wait()

    task = tasks.start(connect())
    await started.wait()
    await tasks.cancel_until_done()
    assert task.cancelled()
    assert len(swallowed) == 2
    assert not len(tasks)
