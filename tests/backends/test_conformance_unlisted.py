"""Unlisted runs, of which only their creators know, and runs that are kept for another time."""

import asyncio

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.backends.memory import MemoryBackend
from dockrion.errors import RunNotFound
from tests.backends.conformance import (
    TIMEOUT_SECONDS,
    Writer,
    begin,
    follow_all,
    new_run,
    not_over_deployments,
    sequences,
)


async def unlisted(backend: Backend, owner: str | None = "ann", kept_seconds: int | None = None) -> Writer:
    run = msgspec.structs.replace(new_run(owner=owner), unlisted=True, kept_seconds=kept_seconds)
    await backend.create(run)
    return Writer(backend, run)


async def listed(backend: Backend, owner: str | None = None) -> list[str]:
    listing = await backend.recent(status=None, limit=100, cursor=None, owner=owner)
    return [run.run_id for run in listing.items]


async def exists(backend: Backend, run_id: str) -> bool:
    try:
        await backend.get(run_id)
    except RunNotFound:
        return False
    return True


async def test_unlisted_run_is_in_no_listing(backend: Backend) -> None:
    hidden, shown = await unlisted(backend), await begin(backend, owner="ann")
    assert await listed(backend) == await listed(backend, "ann") == [shown.run_id]
    await hidden.write()
    await hidden.finish()
    assert await listed(backend) == await listed(backend, "ann") == [shown.run_id]
    assert (await backend.get(hidden.run_id)).unlisted


async def test_unlisted_run_is_followed_to_its_end(backend: Backend) -> None:
    writer = await unlisted(backend)
    following = asyncio.create_task(follow_all(backend, writer.run_id))
    await writer.write(2)
    await writer.finish()
    assert sequences(await following) == [1, 2, 3]


async def test_only_a_watch_without_a_limit_finds_an_unlisted_run(backend: Backend) -> None:
    writer = await unlisted(backend)
    with pytest.raises(RunNotFound):
        async with backend.watch(writer.run_id, limit=5):
            pass
    async with backend.watch(writer.run_id):
        with pytest.raises(RunNotFound):
            async with backend.watch(writer.run_id, limit=5):
                pass
        with pytest.raises(RunNotFound):
            async with backend.watch(writer.run_id, writer.run.incarnation, limit=5):
                pass


@not_over_deployments("backend")
async def test_finished_run_is_kept_as_long_as_its_record_says(backend: Backend) -> None:
    brief, ordinary = await unlisted(backend, kept_seconds=1), await begin(backend)
    for writer in (brief, ordinary):
        await writer.finish()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await exists(backend, brief.run_id):
            await asyncio.sleep(0.02)
    assert await exists(backend, ordinary.run_id)


async def test_memory_keeps_each_run_for_its_own_time() -> None:
    now = 0.0
    backend = MemoryBackend(max_events=10, ttl=10, clock=lambda: now)
    long, short = await unlisted(backend, kept_seconds=100), await begin(backend)
    for writer in (long, short):
        await writer.finish()
    now = 50.0
    backend._retention.expire()
    assert list(backend._logs) == [long.run_id]
    now = 100.0
    backend._retention.expire()
    assert not backend._logs
    await backend.aclose()


async def test_memory_removes_an_unlisted_run_without_a_trace() -> None:
    backend = MemoryBackend(max_events=10, ttl=10, max_bytes=1)
    for _ in range(200):
        await (await unlisted(backend)).finish()
    shown = await begin(backend)
    assert await listed(backend) == [shown.run_id]
    assert list(backend._logs) == [shown.run_id]
    await backend.aclose()
