"""Listing the runs of every backend."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.backends import Backend
from dockrion.backends.run_log import FINISHED, BadCursor, Run, Status
from dockrion.backends.summaries import SUMMARY_BYTES, encode_record, shortened
from tests.backends.conformance import Writer, advanced, begin, entries, new_run

STATUSES: tuple[Status, ...] = ("accepted", "running", "completed", "failed", "cancelled")


async def one_in(backend: Backend, status: Status) -> Writer:
    writer = await begin(backend)
    if status == "running":
        await writer.write()
    elif status in FINISHED:
        await writer.finish(status)
    return writer


async def walk(backend: Backend, limit: int, status: Status | None = None) -> list[Run]:
    """List all runs page by page."""
    found: list[Run] = []
    cursor = None
    for _ in range(100):
        listing = await backend.recent(status=status, limit=limit, cursor=cursor)
        assert len(listing.items) <= limit
        found.extend(listing.items)
        cursor = listing.next
        if cursor is None:
            return found
        assert len(listing.items) == limit
    raise AssertionError("the cursors do not end")


async def test_listing_without_runs_is_empty(backend: Backend) -> None:
    listing = await backend.recent(status=None, limit=10, cursor=None)
    assert listing.items == []
    assert listing.next is None


async def test_newest_run_comes_first(backend: Backend) -> None:
    made = [(await begin(backend)).run for _ in range(5)]
    listing = await backend.recent(status=None, limit=10, cursor=None)
    assert listing.items == made[::-1]
    assert listing.next is None


async def test_updated_run_keeps_its_position(backend: Backend) -> None:
    writers = [await begin(backend) for _ in range(3)]
    await writers[0].write()
    await writers[1].finish()
    listing = await backend.recent(status=None, limit=10, cursor=None)
    assert listing.items == [writer.run for writer in reversed(writers)]


@pytest.mark.parametrize("status", STATUSES)
async def test_status_filter_lists_only_matching_runs(backend: Backend, status: Status) -> None:
    writers = [await one_in(backend, each) for each in (*STATUSES, *STATUSES)]
    found = await backend.recent(status=status, limit=10, cursor=None)
    assert found.items == [writer.run for writer in reversed(writers) if writer.run.status == status]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
async def test_cursors_reach_every_run_exactly_once(backend: Backend, limit: int) -> None:
    made = [(await begin(backend)).run for _ in range(7)]
    assert await walk(backend, limit) == made[::-1]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_cursors_work_with_a_status(backend: Backend, limit: int) -> None:
    writers = [await one_in(backend, each) for each in ("running", "failed") * 5]
    failed = [writer.run for writer in reversed(writers) if writer.run.status == "failed"]
    assert await walk(backend, limit, "failed") == failed


async def test_exactly_full_last_page_has_no_next(backend: Backend) -> None:
    for _ in range(4):
        await begin(backend)
    assert (await backend.recent(status=None, limit=4, cursor=None)).next is None


async def test_runs_created_while_listing_do_not_move_the_cursor(backend: Backend) -> None:
    made = [(await begin(backend)).run for _ in range(4)]
    first = await backend.recent(status=None, limit=2, cursor=None)
    await begin(backend)
    rest = await backend.recent(status=None, limit=10, cursor=first.next)
    assert [*first.items, *rest.items] == made[::-1]


@pytest.mark.parametrize(
    "cursor",
    ["", " ", "garbage", "-1", "1.5", "0x10", "9" * 50, "\u0661", "1\n", "\0", "a/../b"],
)
async def test_malformed_cursor_is_refused(backend: Backend, cursor: str) -> None:
    await begin(backend)
    with pytest.raises(BadCursor):
        await backend.recent(status=None, limit=10, cursor=cursor)


LARGE = "x" * 1_000_000
SERVICE = {"agent": "tested", "framework": "custom"}
NESTED: list[Any] = [[]] * 100_000


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        (
            {"error": {"error": "m" * 4_000, "code": "C", "details": {"type": "T", "large": LARGE}}},
            {"error": {"error": "m" * 500, "code": "C", "details": None}},
        ),
        (
            {"metadata": {"large": NESTED, "reason": "r" * 1_000, **SERVICE}},
            {"metadata": {"reason": "r" * 500, **SERVICE}},
        ),
        ({"metadata": {"large": NESTED, "small": {"a": [1]}}}, {"metadata": {"small": {"a": [1]}}}),
        ({"metadata": {LARGE: 1, "small": 2}}, {"metadata": {"small": 2}}),
        ({"metadata": {f"key{n}": n for n in range(100_000)}}, None),
    ],
)
async def test_large_record_is_listed_shortened_and_read_whole(
    backend: Backend, changes: dict[str, Any], shown: dict[str, Any] | None
) -> None:
    run = new_run()
    await backend.create(run)
    output = msgspec.Raw(b'"the output"')
    run = msgspec.structs.replace(advanced(run, 1, "failed"), output=output, **changes)
    await backend.append(run, entries(1, 1, "error"))
    assert await backend.get(run.run_id) == run
    listing = await backend.recent(status="failed", limit=10, cursor=None)
    (listed,) = listing.items
    assert len(encode_record(listed)) < SUMMARY_BYTES
    assert listed.truncated
    unchanged = {name for name in Run.__struct_fields__ if name not in {"truncated", "output", *changes}}
    assert all(getattr(listed, name) == getattr(run, name) for name in unchanged)
    for name, value in (shown or {}).items():
        assert getattr(listed, name) == value


async def test_small_record_is_listed_as_it_is(backend: Backend) -> None:
    run = new_run()
    await backend.create(run)
    error = {"error": "m" * 1_000, "code": "C", "details": {"type": "T", "some": ["x" * 1_000]}}
    run = msgspec.structs.replace(advanced(run, 1, "failed"), error=error, metadata=SERVICE)
    await backend.append(run, entries(1, 1, "error"))
    listing = await backend.recent(status=None, limit=10, cursor=None)
    assert listing.items == [run]
    assert not run.truncated


def long_texts(max_size: int) -> st.SearchStrategy[str]:
    """Texts that repeat a short one, which is faster than to draw each character."""
    return st.builds(str.__mul__, st.text(max_size=10), st.integers(0, max_size // 10))


values = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | st.text() | long_texts(20_000),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=20,
)


@settings(max_examples=50)
@given(long_texts(4_000), values, st.dictionaries(st.text() | long_texts(600), values))
def test_shortened_record_is_bounded(message: str, details: Any, metadata: dict[str, Any]) -> None:
    error = {"error": message, "code": "C" * 64, "details": details}
    run = msgspec.structs.replace(new_run(), error=error, metadata=metadata | SERVICE)
    short = shortened(run)
    assert len(encode_record(short)) < 2 * SUMMARY_BYTES
    assert short.metadata.items() >= SERVICE.items()
    assert short.error is not None
    assert message.startswith(short.error["error"])
