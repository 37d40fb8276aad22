"""Every key expires, index entries are pruned, and events take little memory."""

import asyncio
import time

import pytest

from dockrion.backends.redis import index, records
from dockrion.errors import RunExists, RunNotFound, ServiceUnavailable
from dockrion.events import Entry
from tests.backends.conformance import Writer, advanced, begin, follow_all, new_run
from tests.backends.service import Service, reply_lost
from tests.support import wait_until

LIVE = 60 + 60 + 3600
DAY = 86_400


def times_to_live(service: Service) -> dict[str, int]:
    return {name: int(service.ask("TTL", name)) for name in service.names()}


def all_expire(service: Service) -> bool:
    """Return whether every key expires in time; -2 is a key that has just expired."""
    return all(
        0 <= seconds <= (DAY if name == service.keys.secret else LIVE) or seconds == -2
        for name, seconds in times_to_live(service).items()
    )


async def test_everything_expires_at_any_moment(service: Service) -> None:
    one, other = await service.replicas(2)
    assert all_expire(service)
    writer = await begin(one, owner="ann")
    assert all_expire(service)
    async with other.watch(writer.run_id, limit=2), one.watch(writer.run_id):
        assert all_expire(service)
        await writer.write(3)
        assert all_expire(service)
        await other.request_cancel(writer.run_id, "r")
        assert all_expire(service)
        await writer.write(50)
        assert all_expire(service)
        await one.recent(status=None, limit=10, cursor=None)
        await one.ping()
        await one.count("name", 60)
        await one.hold("name", "holder", 60)
        await one.claim("name", b"value", 60)
        await one.secret()
        assert all_expire(service)
        await writer.finish()
        assert all_expire(service)
    await one.force_close(advanced(new_run(), 5, "failed"), Entry(5, "error", b"{}", 1.0))
    await service.kill(one)
    assert all_expire(service)
    await service.close(other)
    assert all_expire(service)


async def test_a_finished_run_expires_after_its_time(service: Service) -> None:
    one = await service.replica(ttl=60)
    began = time.monotonic()
    writer = await begin(one, events=2)

    def expire_after(seconds: int) -> bool:
        left = [int(service.ask("TTL", key)) for key in service.keys.log(writer.run_id)]
        return all(seconds - 1 - (time.monotonic() - began) <= each <= seconds for each in left)

    assert expire_after(LIVE)
    await writer.finish()
    assert expire_after(60)


@pytest.mark.usefixtures("fast_beats")
async def test_index_entries_of_expired_runs_are_pruned(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_SETTLE_SECONDS", 0)
    one = await service.replica(ttl=1)
    stays = await begin(one, events=1)
    writers = [await begin(one, events=1) for _ in range(5)]
    for writer in writers:
        await writer.finish()
    keys = service.keys
    await wait_until(lambda: service.ask("ZCARD", keys.runs) == service.ask("ZCARD", keys.expiry) == 1)
    assert service.ask("ZRANGE", keys.runs, 0, -1) == [records.index_entry(stays.run).encode()]
    for writer in writers:
        with pytest.raises(RunNotFound):
            await one.get(writer.run_id)
        assert not [name for name in service.names() if writer.run_id in name.split("{")[1]]
    assert (await one.recent(status=None, limit=10, cursor=None)).items == [stays.run]


@pytest.mark.usefixtures("fast_beats")
async def test_an_unfinished_run_is_renewed(service: Service) -> None:
    one = await service.replica()
    writer = await begin(one, events=1)
    async with one.watch(writer.run_id):
        names = [*service.keys.log(writer.run_id), service.keys.watchers(writer.run_id)]
        for name in names:
            service.ask("EXPIRE", name, 20)
        await wait_until(lambda: all(service.ask("TTL", name) > LIVE - 20 for name in names))


@pytest.mark.usefixtures("fast_beats")
async def test_keys_of_the_service_are_renewed(service: Service) -> None:
    one = await service.replica()
    await begin(one, events=1)
    names = [service.keys.replicas, service.keys.owned(one.replica), service.keys.expiry]
    for name in names:
        service.ask("EXPIRE", name, 20)
    await wait_until(lambda: all(service.ask("TTL", name) > LIVE - 20 for name in names))


@pytest.mark.usefixtures("fast_beats")
async def test_an_unconfirmed_creation_is_ended(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    with reply_lost(), pytest.raises(ServiceUnavailable):
        await one.create(run)
    with pytest.raises(RunExists):
        await one.create(new_run(run.run_id))
    [event] = await follow_all(one, run.run_id)
    assert event.type == "error"
    ended = await one.get(run.run_id)
    assert ended.error is not None
    assert ended.error["code"] == "SERVICE_UNAVAILABLE"
    await wait_until(lambda: not service.ask("EXISTS", service.keys.owned(one.replica)))


@pytest.mark.usefixtures("fast_beats")
async def test_a_creation_whose_caller_left_is_ended(service: Service) -> None:
    one = await service.replica()
    runs = [new_run() for _ in range(20)]
    tasks = [asyncio.create_task(one.create(run)) for run in runs]
    await wait_until(lambda: any(service.ask("EXISTS", service.keys.run(run.run_id)) for run in runs))
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for run, result in zip(runs, results, strict=True):
        if result is not None and service.ask("EXISTS", service.keys.run(run.run_id)):
            assert [event.type for event in await follow_all(one, run.run_id)] == ["error"]


async def test_a_listing_removes_entries_of_expired_runs(service: Service) -> None:
    one = await service.replica()
    writers = [await begin(one, events=1) for _ in range(4)]
    for writer in writers[:2]:
        service.ask("DEL", *service.keys.log(writer.run_id))
    listed = (await one.recent(status=None, limit=10, cursor=None)).items
    assert [run.run_id for run in listed] == [writer.run_id for writer in reversed(writers[2:])]
    assert service.ask("ZCARD", service.keys.runs) == 2


async def test_a_listing_keeps_entries_of_runs_that_are_being_created(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_UNCONFIRMED_SECONDS", 10**9)
    one = await service.replica()
    writer = await begin(one, events=1)
    service.ask("DEL", *service.keys.log(writer.run_id))
    assert (await one.recent(status=None, limit=10, cursor=None)).items == []
    assert service.ask("ZCARD", service.keys.runs) == 1


@pytest.mark.parametrize("size", [80, 200, 500, 1000, 2000, 4000])
async def test_an_event_takes_little_more_memory_than_its_bytes(service: Service, size: int) -> None:
    one = await service.replica(max_events=10_000)
    writer = Writer(one, new_run())
    await one.create(writer.run)
    number = 4000
    before = service.ask("INFO", "memory")["used_memory"]
    for first in range(1, number + 1, 50):
        batch = [Entry(n, "token", b"x" * size, 1_700_000_000.123456 + n) for n in range(first, first + 50)]
        writer.run = advanced(writer.run, first + 49)
        await one.append(writer.run, batch)
    taken = (service.ask("INFO", "memory")["used_memory"] - before) / number
    print(f"{service.kind}: an event of {size} bytes takes {taken:.0f}")
    assert taken <= 1.3 * size + 100


async def test_services_with_different_prefixes_share_nothing(service: Service) -> None:
    one = await service.replica()
    before = service.names()
    other = await service.replica(key_prefix="dockrion:team.b")
    writer = await begin(other, "shared", events=2)
    try:
        with pytest.raises(RunNotFound):
            await one.get("shared")
        assert (await one.recent(status=None, limit=10, cursor=None)).items == []
        assert await one.secret() != await other.secret()
        await (await begin(one, "shared", events=1)).finish()
        assert (await other.get("shared")).last_sequence == 2
        await writer.finish()
    finally:
        await service.close(other)
        left = service.ask("KEYS", f"dockrion:team.b:{service.agent}:*")
        assert left
        service.ask("DEL", *left)
    assert set(before) <= set(service.names())
