"""A run whose id was another run's before: what belongs to the one never concerns the other."""

import asyncio

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.backends.follow import follow
from dockrion.backends.run_log import Run
from dockrion.errors import RunNotFound, SequenceConflict, TooManySubscribers
from tests.backends.conformance import (
    TIMEOUT_SECONDS,
    Writer,
    advanced,
    begin,
    cancel_requests,
    entries,
    follow_all,
    forget,
    new_run,
    read_all,
    sequences,
)


async def reuse(backend: Backend, events: int = 2) -> tuple[Run, Writer]:
    """Return a run that is forgotten, and the writer of the one that has its id now."""
    former = await begin(backend, events=5)
    await former.finish()
    await forget(backend, former.run_id)
    return former.run, await begin(backend, former.run_id, events=events)


async def test_incarnation_is_stored(backend: Backend) -> None:
    run = new_run()
    await backend.create(run)
    assert (await backend.get(run.run_id)).incarnation == run.incarnation
    async with backend.watch(run.run_id) as watch:
        assert watch.incarnation == run.incarnation


async def test_run_is_found_by_its_incarnation_alone(backend: Backend) -> None:
    former, writer = await reuse(backend)
    run_id, current = writer.run_id, writer.run.incarnation
    assert sequences(await backend.read(run_id, 0, 10, current)) == [1, 2]
    with pytest.raises(RunNotFound):
        await backend.read(run_id, 0, 10, former.incarnation)
    async with backend.watch(run_id, current), backend.watch(run_id):
        for limit in (None, 5):
            with pytest.raises(RunNotFound):
                async with backend.watch(run_id, former.incarnation, limit=limit):
                    pass
    with pytest.raises(RunNotFound):
        async with follow(backend, run_id, 0, former.incarnation, idle=TIMEOUT_SECONDS):
            pass


async def test_writer_of_an_earlier_run_cannot_write(backend: Backend) -> None:
    former, writer = await reuse(backend)
    for first in (1, 3, 7):
        with pytest.raises(SequenceConflict):
            await backend.append(advanced(former, first), entries(first, first))
        with pytest.raises(SequenceConflict):
            await backend.force_close(advanced(former, first, "failed"), entries(first, first)[0])
    assert await backend.get(writer.run_id) == writer.run
    await writer.finish()
    assert sequences(await read_all(backend, writer.run_id)) == [1, 2, 3]


async def test_cancel_of_an_earlier_run_is_refused(backend: Backend) -> None:
    former, writer = await reuse(backend)
    async with cancel_requests(backend) as received, asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(RunNotFound):
            await backend.request_cancel(writer.run_id, "former", former.incarnation)
        await backend.request_cancel(writer.run_id, "current", writer.run.incarnation)
        assert await received.get() == (writer.run_id, "current")


async def test_request_to_the_owner_of_an_earlier_run_is_refused(backend: Backend) -> None:
    former, writer = await reuse(backend)
    with pytest.raises(RunNotFound):
        await backend.request_owner(writer.run_id, b"body", former.incarnation)


async def test_request_names_the_run_that_it_is_about(backend: Backend) -> None:
    _, writer = await reuse(backend)

    async def reply() -> str | None:
        async for request in backend.owner_requests():
            await request.reply(b"reply")
            return request.incarnation
        raise AssertionError

    async with asyncio.timeout(TIMEOUT_SECONDS):
        replied = asyncio.create_task(reply())
        assert await backend.request_owner(writer.run_id, b"body") == b"reply"
        assert await replied == writer.run.incarnation


async def test_readers_of_an_earlier_run_do_not_count(backend: Backend) -> None:
    former = await begin(backend, events=1)
    async with backend.watch(former.run_id, limit=1):
        await former.finish()
        await forget(backend, former.run_id)
        writer = await begin(backend, former.run_id)
        async with backend.watch(writer.run_id, limit=1):
            with pytest.raises(TooManySubscribers):
                async with backend.watch(writer.run_id, limit=1):
                    pass


async def test_leaving_an_earlier_run_leaves_the_current_one_watched(backend: Backend) -> None:
    former = await begin(backend, events=1)
    async with backend.watch(former.run_id, limit=2):
        await former.finish()
        await forget(backend, former.run_id)
        writer = await begin(backend, former.run_id)
        current = backend.watch(writer.run_id, limit=2)
        watch = await current.__aenter__()
    try:
        await writer.write()
        assert await watch.wait(TIMEOUT_SECONDS)
        assert await backend.get(writer.run_id) == writer.run
    finally:
        await current.__aexit__(None, None, None)


async def test_reader_gets_no_event_of_the_run_that_replaces_its_own(backend: Backend) -> None:
    former = await begin(backend, events=3)
    async with backend.watch(former.run_id) as watch:
        await former.finish()
        assert sequences(await backend.read(former.run_id, 0, 10, watch.incarnation)) == [1, 2, 3, 4]
        await forget(backend, former.run_id)
        writer = await begin(backend, former.run_id, events=6)
        for after in (0, 3, 4):
            with pytest.raises(RunNotFound):
                await backend.read(former.run_id, after, 10, watch.incarnation)
            assert sequences(await backend.read(writer.run_id, after, 10)) == list(range(after + 1, 7))


async def test_reader_gets_no_page_that_was_read_of_an_earlier_run(backend: Backend) -> None:
    former = await begin(backend, events=3)
    await former.finish()
    assert sequences(await follow_all(backend, former.run_id)) == [1, 2, 3, 4]
    await forget(backend, former.run_id)
    writer = await begin(backend, former.run_id, events=5)
    await writer.finish()
    assert sequences(await follow_all(backend, writer.run_id)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("same_time", [True, False])
async def test_only_the_current_run_is_listed_and_only_for_its_caller(
    backend: Backend, same_time: bool
) -> None:
    former = await begin(backend, owner="ann")
    await former.finish()
    await forget(backend, former.run_id)
    run = new_run(former.run_id, owner="bob")
    if same_time:
        run = msgspec.structs.replace(run, created_at=former.run.created_at)
    await backend.create(run)
    for owner, listed in ((None, [run]), ("bob", [run]), ("ann", [])):
        assert (await backend.recent(status=None, limit=10, cursor=None, owner=owner)).items == listed
