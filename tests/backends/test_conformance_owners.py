"""Owners in listings, and the bound on the runs that one listing examines."""

import random

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.backends.run_log import FINISHED, Listing, Run, Status
from tests.backends.conformance import Writer, advanced, begin, entries, new_run

STATUSES: tuple[Status, ...] = ("accepted", "running", "completed", "failed", "cancelled")
OWNERS = (None, "ann", "ben", "", "ann ", "t|\u00e9{x}:*" + "y" * 2_200)


async def mine(backend: Backend, owner: str, status: Status | None = None) -> list[Run]:
    listing = await backend.recent(status=status, limit=500, cursor=None, owner=owner)
    assert listing.next is None
    return listing.items


async def made(backend: Backend, number: int) -> list[Run]:
    """Create runs of all owners in all statuses, and return them newest first."""
    chance = random.Random(number)
    runs: list[Run] = []
    for _ in range(number):
        writer = await begin(backend, owner=chance.choice(OWNERS))
        status = chance.choice(STATUSES)
        if status in FINISHED:
            await writer.finish(status)
        elif status == "running":
            await writer.write()
        runs.append(writer.run)
    return runs[::-1]


async def pages(
    backend: Backend, limit: int, status: Status | None = None, owner: str | None = None
) -> list[Listing[Run]]:
    """List all runs page by page."""
    found: list[Listing[Run]] = []
    cursor = None
    while not found or cursor is not None:
        found.append(await backend.recent(status=status, limit=limit, cursor=cursor, owner=owner))
        assert len(found[-1].items) <= limit
        assert len(found) < 1_000, "the cursors do not end"
        cursor = found[-1].next
    return found


@pytest.fixture
def examine_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("memory.index", "redis.index"):
        monkeypatch.setattr(f"dockrion.backends.{module}.MAX_SCANNED", 7)


async def test_owner_filter_lists_exactly_the_owners_runs(backend: Backend) -> None:
    runs = await made(backend, 60)
    for owner in OWNERS[1:]:
        assert owner is not None
        assert await mine(backend, owner) == [run for run in runs if run.owner == owner]
        for status in STATUSES:
            theirs = [run for run in runs if (run.owner, run.status) == (owner, status)]
            assert await mine(backend, owner, status) == theirs
    assert await mine(backend, "unknown") == []


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
@pytest.mark.usefixtures("examine_seven")
async def test_short_pages_reach_every_run(backend: Backend, limit: int) -> None:
    runs = await made(backend, 40)
    for owner in OWNERS:
        for status in (None, "failed"):
            found = await pages(backend, limit, status, owner)
            assert [run for page in found for run in page.items] == [
                run for run in runs if owner in (None, run.owner) and status in (None, run.status)
            ]


@pytest.mark.usefixtures("examine_seven")
async def test_listing_examines_a_bounded_number_of_runs(backend: Backend) -> None:
    rare = await begin(backend)
    await rare.finish("failed")
    for _ in range(19):
        await begin(backend)
    found = await pages(backend, 5, "failed")
    assert [page.items for page in found] == [[], [], [rare.run]]


@pytest.mark.usefixtures("examine_seven")
async def test_owner_of_few_runs_among_many_gets_no_empty_page(backend: Backend) -> None:
    runs = []
    for number in range(60):
        owner = "ann" if number % 20 == 0 else "ben"
        writer = await begin(backend, owner=owner)
        if owner == "ann":
            runs.append(writer.run)
    assert [page.items for page in await pages(backend, 5, None, "ann")] == [runs[::-1]]
    assert [page.items for page in await pages(backend, 5, None, "cyd")] == [[]]


async def test_cursor_of_the_only_matching_run_continues(backend: Backend) -> None:
    older = [(await begin(backend, owner="ann")).run for _ in range(2)]
    await begin(backend, owner="ben")
    newest = (await begin(backend, owner="ann")).run
    first = await backend.recent(status=None, limit=1, cursor=None, owner="ann")
    assert first.items == [newest]
    rest = await backend.recent(status=None, limit=5, cursor=first.next, owner="ann")
    assert rest.items == older[::-1]


async def test_owner_is_stored_for_the_whole_life_of_a_run(backend: Backend) -> None:
    writer = await begin(backend, owner="ann")
    for move in (writer.write, writer.write, writer.finish):
        await move()
        assert (await backend.get(writer.run_id)).owner == "ann"
        assert await mine(backend, "ann") == [writer.run]


@pytest.mark.parametrize("gone", [True, False])
async def test_force_close_does_not_change_the_owner(backend: Backend, gone: bool) -> None:
    run = new_run(owner="ann")
    if not gone:
        await backend.create(run)
    ended = advanced(run, 5, "failed")
    await backend.force_close(ended, entries(5, 5, "error")[0])
    assert await backend.get(run.run_id) == ended
    assert await mine(backend, "ann") == [ended]
    assert await mine(backend, "ben") == []


async def test_refused_create_lists_nothing_for_its_owner(backend: Backend) -> None:
    writer = await begin(backend, owner="ann")
    twin = msgspec.structs.replace(writer.run, owner="ben")
    with pytest.raises(Exception, match="exists"):
        await backend.create(twin)
    assert await mine(backend, "ben") == []
    assert await mine(backend, "ann") == [writer.run]
    await Writer(backend, writer.run).finish()
