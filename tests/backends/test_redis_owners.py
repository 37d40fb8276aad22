"""The owners of runs in Redis: the indexes of their runs, how long they are kept, what a listing costs."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from redis.crc import key_slot

from dockrion.backends import Backend
from dockrion.backends.redis import index, records
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.keys import Command
from dockrion.backends.run_log import Run
from dockrion.errors import ServiceUnavailable
from tests.backends.conformance import Writer, begin, new_run
from tests.backends.service import Service
from tests.support import wait_until

LIVE = 60 + 60 + 3600


def index_entries(runs: Iterable[Run]) -> list[bytes]:
    return [records.index_entry(run).encode() for run in runs]


def indexed(service: Service, owner: str) -> list[bytes]:
    """Return the index entries of an owner's runs, oldest first."""
    found: list[bytes] = service.ask("ZRANGE", service.keys.runs_of(owner), 0, -1)
    return found


async def mine(backend: Backend, owner: str) -> list[Run]:
    return (await backend.recent(status=None, limit=100, cursor=None, owner=owner)).items


async def test_key_names_do_not_reveal_the_owner(service: Service) -> None:
    one = await service.replica()
    for owner in ("ann@example.com", "{other}", "x" * 2_200, "\u00e9\r\n\0 *"):
        await begin(one, owner=owner)
        name = service.keys.runs_of(owner)
        assert name in service.names()
        assert re.fullmatch(r"[\w:{}-]{1,200}", name, re.ASCII)
        assert "ann" not in name
        assert key_slot(name.encode()) == key_slot(service.keys.runs.encode())


async def test_runs_without_an_owner_have_no_index_of_their_own(service: Service) -> None:
    one = await service.replica()
    await begin(one)
    assert not [name for name in service.names() if ":runs-of:" in name]


async def test_runs_of_others_cost_a_listing_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await service.replica()
    for _ in range(150):
        await begin(one, owner="ben")
    writer = await begin(one, owner="ann")
    sent: list[Command] = []
    send = RedisClient.send

    async def noted(client: RedisClient, *commands: Command, **more: Any) -> list[Any]:
        sent.extend(commands)
        return await send(client, *commands, **more)

    monkeypatch.setattr(RedisClient, "send", noted)
    assert await mine(one, "ann") == [writer.run]
    assert [command[0] for command in sent] == ["ZREVRANGEBYLEX", "HMGET"]


async def test_the_index_of_an_owner_expires_and_is_renewed_with_each_run(service: Service) -> None:
    one = await service.replica()
    name = service.keys.runs_of("ann")
    for _ in range(2):
        await begin(one, owner="ann")
        assert LIVE - 20 < service.ask("TTL", name) <= LIVE
        service.ask("EXPIRE", name, 20)


@pytest.mark.usefixtures("fast_beats")
async def test_the_indexes_of_a_live_run_do_not_expire_before_it(service: Service) -> None:
    one = await service.replica()
    await begin(one, owner="ann")
    names = service.keys.indexes("ann")
    for name in names:
        service.ask("EXPIRE", name, 20)
    await wait_until(lambda: all(service.ask("TTL", name) > LIVE - 20 for name in names))


@pytest.mark.usefixtures("fast_beats")
async def test_an_owner_who_never_lists_does_not_fill_redis(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_SETTLE_SECONDS", 0)
    one = await service.replica(ttl=1)
    for _ in range(30):
        await (await begin(one, owner="ann")).finish()
    await wait_until(lambda: service.ask("ZCARD", service.keys.runs) == 0)
    latest = await begin(one, owner="ann")
    assert indexed(service, "ann") == index_entries([latest.run])


async def test_entries_of_stored_runs_are_not_trimmed_with_expired_ones(service: Service) -> None:
    one = await service.replica()
    gone, live, done = [await begin(one, owner="ann") for _ in range(3)]
    await done.finish()
    service.ask("DEL", *service.keys.log(gone.run_id))
    service.ask("ZREM", service.keys.runs, *index_entries([gone.run]))
    latest = await begin(one, owner="ann")
    runs = [live.run, done.run, latest.run]
    assert indexed(service, "ann") == index_entries(runs)
    assert await mine(one, "ann") == runs[::-1]


async def test_a_listing_removes_expired_entries_from_all_indexes(service: Service) -> None:
    one = await service.replica()
    writers = [await begin_owned(one, "ann") for _ in range(4)]
    for writer in writers[:3]:
        service.ask("DEL", *service.keys.log(writer.run_id))
    assert await mine(one, "ann") == [writers[3].run]
    for name in (*service.keys.indexes("ann"), service.keys.expiry):
        assert service.ask("ZCARD", name) == 1


@pytest.mark.parametrize("live", [0, 1])
async def test_expired_runs_of_a_caller_make_no_empty_pages(
    service: Service, monkeypatch: pytest.MonkeyPatch, live: int
) -> None:
    monkeypatch.setattr(index, "MAX_SCANNED", 200)
    one = await service.replica()
    expired = index_entries(new_run() for _ in range(500))
    runs = [(await begin(one, owner="ann")).run for _ in range(live)]
    await begin(one, owner="ben")
    service.ask("ZADD", service.keys.runs_of("ann"), *(part for each in expired for part in (0, each)))
    listing = await one.recent(status=None, limit=5, cursor=None, owner="ann")
    assert (listing.items, listing.next) == (runs, None)
    assert indexed(service, "ann") == index_entries(runs)


@pytest.mark.usefixtures("fast_beats")
async def test_the_runs_of_a_dead_replica_keep_their_owners(service: Service) -> None:
    doomed, survivor = await service.replicas(2)
    writer = await begin_owned(doomed, "ann")
    await begin(doomed, events=1)
    await service.kill(doomed)
    await wait_until(lambda: doomed.replica not in service.alive())
    (run,) = await mine(survivor, "ann")
    assert (run.run_id, run.owner, run.status) == (writer.run_id, "ann", "failed")
    assert (await survivor.get(writer.run_id)).owner == "ann"


async def test_another_replica_lists_the_same(service: Service) -> None:
    one, other = await service.replicas(2)
    runs = [(await begin_owned(each, "ann")).run for each in (one, other, one)]
    assert await mine(one, "ann") == await mine(other, "ann") == runs[::-1]


async def test_a_wrong_entry_does_not_list_a_run_of_another_owner(service: Service) -> None:
    one = await service.replica()
    writer = await begin(one, owner="ann")
    await begin(one, owner="ben")
    service.ask("ZADD", service.keys.runs_of("ben"), 0, *index_entries([writer.run]))
    assert writer.run not in await mine(one, "ben")
    assert await mine(one, "ann") == [writer.run]


async def test_an_index_key_of_another_type_affects_its_owner_alone(service: Service) -> None:
    one = await service.replica()
    service.ask("SET", service.keys.runs_of("ann"), "not ours", "EX", 60)
    with pytest.raises(ServiceUnavailable):
        await one.create(new_run(owner="ann"))
    with pytest.raises(ServiceUnavailable):
        await mine(one, "ann")
    writer = await begin(one, owner="ben")
    assert await mine(one, "ben") == [writer.run]


async def begin_owned(backend: Backend, owner: str) -> Writer:
    writer = await begin(backend, owner=owner)
    await writer.write()
    return writer
