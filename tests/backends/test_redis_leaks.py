"""Readers and runs leave nothing behind, neither in memory nor in Redis nor as connections."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import pytest

from dockrion.backends.follow import follow
from dockrion.backends.redis import RedisBackend
from tests.backends.conformance import Writer, begin
from tests.backends.service import NEVER, Service
from tests.support import wait_until

READERS = 1_000
POOL = 10


def open_connections(service: Service) -> int:
    """Count the open connections to the server, except the test's own."""
    service.ask("PING")
    return service.server.clients() - 1


async def until_released(backend: RedisBackend) -> None:
    await wait_until(
        lambda: not backend._subscriptions._subscriptions and not len(backend._subscriptions._tasks)
    )


async def read(backend: RedisBackend, writer: Writer, limit: int | None) -> None:
    async with follow(backend, writer.run_id, 0, idle=NEVER, limit=limit) as pages:
        async for _ in pages:
            pass


async def test_a_thousand_readers_leave_nothing(service: Service) -> None:
    chance = random.Random(3)
    owner, other = await service.replicas(2)
    writers = [await begin(owner, events=2) for _ in range(10)]
    await asyncio.gather(*(other.get(writer.run_id) for writer in writers * 5))
    before = open_connections(service)
    for _ in range(READERS // 100):
        readers = [
            asyncio.create_task(read(other, chance.choice(writers), chance.choice([None, 10_000])))
            for _ in range(100)
        ]
        while readers:
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            leaver = readers.pop(chance.randrange(len(readers)))
            leaver.cancel()
            if not chance.randrange(10):
                await chance.choice(writers).write()
            with suppress(asyncio.CancelledError):
                await leaver
    await until_released(other)
    await until_released(owner)
    for writer in writers:
        assert service.readers(writer.run_id) == {}
        await writer.finish()
    assert not owner._leases._owned
    assert open_connections(service) <= before + POOL
    await service.close(other)
    await service.close(owner)
    await wait_until(lambda: open_connections(service) < before)


async def test_readers_who_stay_to_the_end_leave_nothing(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner, events=2)
    readers = [asyncio.create_task(read(other, writer, 500)) for _ in range(200)]
    await wait_until(lambda: service.readers(writer.run_id) == {other.replica: 200})
    await writer.finish()
    await asyncio.gather(*readers)
    await until_released(other)
    assert service.readers(writer.run_id) == {}


async def test_many_watched_runs_need_no_more_connections_than_one(service: Service) -> None:
    owner, other = await service.replicas(2)
    writers = [await begin(owner, events=1) for _ in range(300)]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(other.watch(writers[0].run_id))
        before = open_connections(service)
        watches = [await stack.enter_async_context(other.watch(writer.run_id)) for writer in writers]
        assert open_connections(service) == before
        for writer in writers:
            await writer.write()
        assert all([await watch.wait(10) for watch in watches])
        assert open_connections(service) == before
    await until_released(other)


@pytest.mark.usefixtures("fast_beats")
async def test_finished_runs_are_released(service: Service) -> None:
    one = await service.replica()
    for writer in [await begin(one, events=1) for _ in range(50)]:
        await writer.finish()
    leases = one._leases
    await wait_until(lambda: not (leases._owned or leases._ended or leases.unconfirmed))
    await wait_until(lambda: not service.ask("EXISTS", service.keys.owned(one.replica)))


async def test_a_closed_replica_has_no_connections(service: Service) -> None:
    before = open_connections(service)
    one = await service.replica()
    writer = await begin(one, events=1)
    async with one.watch(writer.run_id, limit=3):
        await asyncio.gather(*(one.get(writer.run_id) for _ in range(50)))
        assert open_connections(service) <= before + POOL + 2
    await service.close(one)
    await wait_until(lambda: open_connections(service) <= before)
