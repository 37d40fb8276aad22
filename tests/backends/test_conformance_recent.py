"""Listing the runs of every backend."""

import pytest

from dockrion.backends import Backend
from dockrion.backends.run_log import FINISHED, BadCursor, Run, Status
from tests.backends.conformance import Writer, begin

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
