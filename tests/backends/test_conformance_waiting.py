"""Runs that wait for an answer: their records, without and with events, and the list of them."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.backends.run_log import MAX_SCANNED, Run, WaitingFor
from dockrion.errors import RunClosed, RunNotFound, SequenceConflict
from dockrion.ids import new_incarnation
from tests.backends.conformance import Writer, advanced, begin, entries, new_run, sequences
from tests.support import TIMEOUT_SECONDS

QUESTION = WaitingFor(
    request_id="ask_1",
    prompt="Send it?",
    schema={"type": "boolean"},
    expires_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
)
LARGE = msgspec.structs.replace(QUESTION, prompt="x" * 30_000, schema={"enum": ["y" * 30_000]})


async def wait_for(writer: Writer, question: WaitingFor | None) -> None:
    """Replace a run's record alone."""
    writer.run = msgspec.structs.replace(writer.run, waiting_for=question)
    await writer.backend.append(writer.run, [])


async def waiting(backend: Backend, **query: Any) -> list[Run]:
    query = {"status": None, "limit": 100, "cursor": None} | query
    return (await backend.recent(**query, waiting=True)).items


@pytest.mark.parametrize("events", [0, 3])
async def test_a_record_is_replaced_without_an_event(backend: Backend, events: int) -> None:
    writer = await begin(backend, events=events)
    await wait_for(writer, QUESTION)
    assert await backend.get(writer.run_id) == writer.run
    assert await waiting(backend) == [writer.run]
    await wait_for(writer, None)
    assert await backend.get(writer.run_id) == writer.run
    assert await waiting(backend) == []
    await writer.write(2)
    assert sequences(await backend.read(writer.run_id, 0, 10)) == list(range(1, events + 3))


async def test_replacing_a_record_twice_is_the_same_as_once(backend: Backend) -> None:
    writer = await begin(backend, events=2)
    for _ in range(2):
        await wait_for(writer, QUESTION)
    assert await backend.get(writer.run_id) == writer.run
    await writer.write()


async def test_a_record_is_replaced_with_events(backend: Backend) -> None:
    writer = await begin(backend, events=1)
    run = msgspec.structs.replace(advanced(writer.run, 2), waiting_for=QUESTION)
    await backend.append(run, entries(2, 2, "input_requested"))
    assert await backend.get(run.run_id) == run
    assert await waiting(backend) == [run]


async def test_a_reader_that_waits_gets_no_page_for_a_record(backend: Backend) -> None:
    writer = await begin(backend, events=1)
    async with backend.watch(writer.run_id) as watch:
        watch.position = 1
        await wait_for(writer, QUESTION)
        await writer.write()
        assert await watch.wait(TIMEOUT_SECONDS)
        assert sequences(await backend.read(writer.run_id, 1, 10)) == [2]


@pytest.mark.parametrize(
    "refused", [RunNotFound, RunClosed, SequenceConflict], ids=lambda error: str(error.__name__)
)
async def test_a_record_that_is_not_the_writers_is_not_replaced(
    backend: Backend, refused: type[Exception]
) -> None:
    writer = await begin(backend, events=1)
    run = msgspec.structs.replace(writer.run, waiting_for=QUESTION)
    if refused is RunNotFound:
        run = new_run()
    elif refused is RunClosed:
        await writer.finish()
    else:
        run = msgspec.structs.replace(run, incarnation=new_incarnation())
    with pytest.raises(refused):
        await backend.append(run, [])
    assert (await backend.get(writer.run_id)).waiting_for is None


async def test_a_record_of_another_position_is_not_stored(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    with pytest.raises(SequenceConflict):
        await backend.append(msgspec.structs.replace(writer.run, last_sequence=1), [])
    assert await backend.get(writer.run_id) == writer.run


async def test_a_large_question_is_whole_in_the_record_and_shortened_in_the_list(backend: Backend) -> None:
    writer = await begin(backend, events=1)
    await wait_for(writer, LARGE)
    assert await backend.get(writer.run_id) == writer.run
    (listed,) = await waiting(backend)
    assert listed.truncated
    assert listed.waiting_for is not None
    assert listed.waiting_for.prompt == LARGE.prompt[:500]
    assert listed.waiting_for.schema is None
    assert listed.waiting_for.request_id == LARGE.request_id
    await wait_for(writer, QUESTION)
    assert await backend.get(writer.run_id) == writer.run
    assert await waiting(backend) == [writer.run]
    await wait_for(writer, LARGE)
    writer.run = msgspec.structs.replace(writer.run, waiting_for=None)
    await writer.finish()
    assert await backend.get(writer.run_id) == writer.run
    assert (await backend.recent(status=None, limit=10, cursor=None)).items == [writer.run]


async def test_waiting_runs_are_listed_by_status_owner_and_page(backend: Backend) -> None:
    writers = [await begin(backend, owner="ann" if number % 2 else "bob", events=1) for number in range(6)]
    for writer in writers[:5]:
        await wait_for(writer, QUESTION)
    newest_first = [writer.run for writer in reversed(writers[:5])]
    assert await waiting(backend) == newest_first
    assert await waiting(backend, status="running") == newest_first
    assert await waiting(backend, status="accepted") == []
    assert await waiting(backend, owner="ann") == [run for run in newest_first if run.owner == "ann"]
    found, cursor = [], None
    while True:
        page = await backend.recent(status=None, limit=2, cursor=cursor, waiting=True)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
        assert len(page.items) == 2
    assert found == newest_first


async def test_a_search_for_waiting_runs_examines_a_bounded_number(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory", "redis"):
        monkeypatch.setattr(f"dockrion.backends.{module}.index.MAX_SCANNED", 5)
    assert MAX_SCANNED > 5
    oldest = await begin(backend, events=1)
    await wait_for(oldest, QUESTION)
    for _ in range(7):
        await begin(backend)
    first = await backend.recent(status=None, limit=10, cursor=None, waiting=True)
    assert first.items == []
    assert first.next is not None
    rest = await backend.recent(status=None, limit=10, cursor=first.next, waiting=True)
    assert rest.items == [oldest.run]
