"""The run log: create, append, read, and what is refused."""

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.backends.pages import PAGE_BYTES
from dockrion.backends.run_log import Run, Status
from dockrion.errors import RunClosed, RunExists, RunNotFound, SequenceConflict
from dockrion.events import Entry
from tests.backends.conformance import (
    MAX_EVENTS,
    START,
    advanced,
    begin,
    entries,
    new_run,
    read_all,
    sequences,
)


async def test_created_run_is_returned_unchanged(backend: Backend) -> None:
    run = new_run()
    await backend.create(run)
    assert await backend.get(run.run_id) == run


async def test_every_field_of_a_record_is_stored(backend: Backend) -> None:
    writer = await begin(backend)
    full = Run(
        run_id=writer.run_id,
        incarnation=writer.run.incarnation,
        status="failed",
        created_at=writer.run.created_at,
        started_at=START,
        completed_at=START,
        output=msgspec.Raw(b'{"a":[1,2.5,null,"\xc3\xa9"]}'),
        error={"error": "e", "code": "C", "details": {"x": [1]}},
        metadata={"agent": "a", "nested": {"b": 1}},
        last_sequence=1,
        owner="tenant\u00e9|someone" + "x" * 2_000,
    )
    await backend.append(full, entries(1, 1, "error"))
    assert await backend.get(writer.run_id) == full


async def test_new_run_has_no_events(backend: Backend) -> None:
    writer = await begin(backend)
    page = await backend.read(writer.run_id, 0, 10)
    assert sequences(page) == []
    assert not page.closed


async def test_second_create_with_an_id_is_refused(backend: Backend) -> None:
    writer = await begin(backend, events=2)
    with pytest.raises(RunExists):
        await backend.create(new_run(writer.run_id))
    assert await backend.get(writer.run_id) == writer.run
    assert sequences(await backend.read(writer.run_id, 0, 10)) == [1, 2]


async def test_id_of_a_finished_run_cannot_be_reused(backend: Backend) -> None:
    writer = await begin(backend)
    await writer.finish()
    with pytest.raises(RunExists):
        await backend.create(new_run(writer.run_id))


async def test_append_stores_events_and_record(backend: Backend) -> None:
    writer = await begin(backend)
    await writer.write(3)
    assert await backend.get(writer.run_id) == advanced(writer.run, 3)
    assert sequences(await backend.read(writer.run_id, 0, 10)) == [1, 2, 3]


async def test_entries_are_returned_unchanged(backend: Backend) -> None:
    writer = await begin(backend)
    given = [
        Entry(1, "token", b'{"content":"\xe2\x80\xa8 \\n\\u0000 id: 7"}', 1_000.123456),
        Entry(2, "custom:a_b", b"{}", 1_000.5),
        Entry(3, "token", b'"' + b"x" * 100_000 + b'"', 1_001.0),
    ]
    await backend.append(advanced(writer.run, 3), given)
    found = (await backend.read(writer.run_id, 0, 10)).entries
    assert list(found) == given


@pytest.mark.parametrize("first", [1, 2, 3, 5, 9], ids=["first", "middle", "last", "gap", "far gap"])
async def test_non_contiguous_batch_is_refused_and_changes_nothing(backend: Backend, first: int) -> None:
    writer = await begin(backend, events=3)
    wrong = entries(first, first + 4)
    with pytest.raises(SequenceConflict):
        await backend.append(advanced(writer.run, first + 4), wrong)
    assert await backend.get(writer.run_id) == writer.run
    assert sequences(await backend.read(writer.run_id, 0, 100)) == [1, 2, 3]


async def test_first_sequence_is_one(backend: Backend) -> None:
    writer = await begin(backend)
    for first in (0, 2):
        with pytest.raises(SequenceConflict):
            await backend.append(advanced(writer.run, first), entries(first, first))
    assert (await backend.get(writer.run_id)).last_sequence == 0


async def test_refused_terminal_batch_does_not_close_the_run(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    with pytest.raises(SequenceConflict):
        await backend.append(advanced(writer.run, 5, "completed"), entries(5, 5, "complete"))
    assert not (await backend.read(writer.run_id, 3, 10)).closed
    await writer.write()
    assert (await backend.get(writer.run_id)).status == "running"


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_append_after_the_terminal_event_is_refused(backend: Backend, status: Status) -> None:
    writer = await begin(backend, events=2)
    await writer.finish(status)
    with pytest.raises(RunClosed):
        await backend.append(advanced(writer.run, 4), entries(4, 4))
    with pytest.raises(RunClosed):
        await backend.append(advanced(writer.run, 3, "failed"), entries(3, 3, "error"))
    assert (await backend.get(writer.run_id)) == writer.run
    assert sequences(await backend.read(writer.run_id, 0, 100)) == [1, 2, 3]


async def test_run_can_end_with_its_first_batch(backend: Backend) -> None:
    writer = await begin(backend)
    await writer.finish("failed")
    page = await backend.read(writer.run_id, 0, 10)
    assert sequences(page) == [1]
    assert page.closed


async def test_every_method_reports_an_unknown_run(backend: Backend) -> None:
    unknown = new_run("unknown")
    with pytest.raises(RunNotFound):
        await backend.get("unknown")
    with pytest.raises(RunNotFound):
        await backend.append(advanced(unknown, 1), entries(1, 1))
    with pytest.raises(RunNotFound):
        await backend.read("unknown", 0, 10)
    with pytest.raises(RunNotFound):
        async with backend.watch("unknown"):
            pass
    with pytest.raises(RunNotFound):
        async with backend.watch("unknown", limit=5):
            pass
    with pytest.raises(RunNotFound):
        await backend.request_cancel("unknown", None)


async def test_refused_append_creates_no_run(backend: Backend) -> None:
    unknown = new_run()
    with pytest.raises(RunNotFound):
        await backend.append(advanced(unknown, 1), entries(1, 1))
    await backend.create(unknown)
    assert sequences(await backend.read(unknown.run_id, 0, 10)) == []


@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, [1, 2, 3, 4, 5]), (1, [2, 3, 4, 5]), (3, [4, 5]), (4, [5]), (5, []), (6, []), (10**15, [])],
)
async def test_reading_starts_after_the_position(backend: Backend, after: int, expected: list[int]) -> None:
    writer = await begin(backend, events=5)
    page = await backend.read(writer.run_id, after, 100)
    assert sequences(page) == expected
    assert not page.closed


@pytest.mark.parametrize(("limit", "expected"), [(1, [2]), (2, [2, 3]), (4, [2, 3, 4, 5]), (5, [2, 3, 4, 5])])
async def test_page_respects_the_limit(backend: Backend, limit: int, expected: list[int]) -> None:
    writer = await begin(backend, events=5)
    assert sequences(await backend.read(writer.run_id, 1, limit)) == expected


@pytest.mark.parametrize(
    ("after", "limit", "closed"),
    [(0, 3, False), (0, 4, True), (0, 9, True), (3, 1, True), (2, 1, False), (4, 9, True), (99, 9, True)],
)
async def test_only_the_page_that_reaches_the_end_of_a_finished_run_is_closed(
    backend: Backend, after: int, limit: int, closed: bool
) -> None:
    writer = await begin(backend, events=3)
    await writer.finish()
    assert (await backend.read(writer.run_id, after, limit)).closed is closed


@pytest.mark.parametrize("limit", [1, 2, 7, 19, 20, 21])
async def test_pages_of_any_size_concatenate_to_the_log(backend: Backend, limit: int) -> None:
    writer = await begin(backend, events=MAX_EVENTS - 1)
    await writer.finish()
    assert sequences(await read_all(backend, writer.run_id, 0, limit)) == list(range(1, MAX_EVENTS + 1))


async def test_batches_of_any_size_concatenate_to_the_log(backend: Backend) -> None:
    writer = await begin(backend)
    for size in (1, 5, 2, 1, 7):
        await writer.write(size)
    assert sequences(await read_all(backend, writer.run_id)) == list(range(1, 17))


async def test_window_holds_exactly_the_newest_events(backend: Backend) -> None:
    writer = await begin(backend)
    for last in range(1, 4 * MAX_EVENTS):
        await writer.write()
        held = sequences(await backend.read(writer.run_id, 0, 10 * MAX_EVENTS))
        assert held == list(range(max(1, last - MAX_EVENTS + 1), last + 1))


async def test_batch_larger_than_the_window_leaves_its_newest_events(backend: Backend) -> None:
    writer = await begin(backend, events=20 * MAX_EVENTS)
    found = sequences(await backend.read(writer.run_id, 0, 10 * MAX_EVENTS))
    assert found == list(range(19 * MAX_EVENTS + 1, 20 * MAX_EVENTS + 1))


async def test_window_of_a_finished_run_ends_with_the_terminal_event(backend: Backend) -> None:
    writer = await begin(backend, events=3 * MAX_EVENTS)
    await writer.finish()
    page = await backend.read(writer.run_id, 0, 10 * MAX_EVENTS)
    assert sequences(page) == list(range(2 * MAX_EVENTS + 2, 3 * MAX_EVENTS + 2))
    assert page.entries[-1].type == "complete"
    assert page.closed


@pytest.mark.parametrize("behind", [0, 1, MAX_EVENTS - 1, MAX_EVENTS, MAX_EVENTS + 1, 3 * MAX_EVENTS])
async def test_position_before_the_window_reads_from_its_oldest_event(backend: Backend, behind: int) -> None:
    last = 3 * MAX_EVENTS
    writer = await begin(backend, events=last)
    after = last - behind
    oldest = last - MAX_EVENTS + 1
    assert sequences(await backend.read(writer.run_id, after, 100)) == [
        *range(max(after + 1, oldest), last + 1)
    ]


async def test_limit_counts_from_the_oldest_stored_event(backend: Backend) -> None:
    writer = await begin(backend, events=2 * MAX_EVENTS)
    assert sequences(await backend.read(writer.run_id, 1, 3)) == [MAX_EVENTS + n for n in (1, 2, 3)]


async def test_runs_are_independent(backend: Backend) -> None:
    one, other = await begin(backend, events=3), await begin(backend, events=1)
    await one.finish()
    assert sequences(await backend.read(other.run_id, 0, 10)) == [1]
    assert not (await backend.get(other.run_id)).finished


async def test_page_is_not_changed_by_later_appends(backend: Backend) -> None:
    writer = await begin(backend, events=2)
    async with backend.watch(writer.run_id):
        page = await backend.read(writer.run_id, 0, 10)
        await writer.write(2 * MAX_EVENTS)
        assert sequences(page) == [1, 2]


async def test_page_is_encoded_once_per_encoder(backend: Backend) -> None:
    writer = await begin(backend, events=2)
    calls = []

    def encode(found: object) -> bytes:
        calls.append(found)
        return b"x"

    page = await backend.read(writer.run_id, 0, 10)
    assert page.encoded(encode) is page.encoded(encode)
    assert len(calls) == 1
    assert page.encoded(lambda _: b"y") == b"y"


async def test_page_is_bounded_in_bytes_and_the_next_continues(backend: Backend) -> None:
    writer = await begin(backend)
    size = PAGE_BYTES // 3
    for number in range(1, 8):
        one = Entry(number, "token", b"x" * size, 0.0)
        await backend.append(msgspec.structs.replace(writer.run, last_sequence=number), [one])
    read: list[int] = []
    while (page := await backend.read(writer.run_id, len(read), 100)).entries:
        assert sum(len(entry.data) for entry in page.entries) <= PAGE_BYTES + size
        read += sequences(page)
    assert read == [1, 2, 3, 4, 5, 6, 7]


async def test_ping_succeeds_while_the_storage_responds(backend: Backend) -> None:
    await backend.ping()
