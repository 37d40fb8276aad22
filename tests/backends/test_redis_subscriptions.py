"""Subscriptions: concurrent readers are registered together, and uncertain registrations are settled."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import patch

import pytest

from dockrion.backends.pages import Page
from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.keys import Command
from dockrion.backends.redis.subscription import _TRANSITIONS, CommandResult, Registration
from dockrion.errors import ServiceUnavailable, TooManySubscribers
from tests.backends.conformance import TIMEOUT_SECONDS, begin, sequences
from tests.backends.service import Service, reply_lost
from tests.backends.test_conformance_watch import quiet
from tests.support import wait_until


def registration(backend: RedisBackend, run_id: str) -> Registration:
    return backend._subscriptions._subscriptions[run_id].registration


@pytest.mark.usefixtures("single_beat")
async def test_concurrent_readers_are_registered_with_few_commands(service: Service) -> None:
    (backend,) = await service.replicas(1)
    writer = await begin(backend)
    sent: list[Any] = []
    send = RedisClient.send
    leave = asyncio.Event()

    async def counted(client: RedisClient, *commands: Command, **more: Any) -> list[Any]:
        sent.extend(commands)
        return await send(client, *commands, **more)

    async def read() -> None:
        async with backend.watch(writer.run_id, limit=100):
            await leave.wait()

    with patch.object(RedisClient, "send", counted):
        readers = [asyncio.create_task(read()) for _ in range(50)]
        await wait_until(lambda: sum(service.readers(writer.run_id).values()) == 50)
        leave.set()
        await asyncio.gather(*readers)
    assert len(sent) <= 5
    assert service.readers(writer.run_id) == {}


@pytest.mark.usefixtures("single_beat")
async def test_concurrent_readers_fill_the_limit_and_no_more(service: Service) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one)
    async with AsyncExitStack() as stack:
        watches = [backend.watch(writer.run_id, limit=30) for backend in (one, other) for _ in range(25)]
        came = await asyncio.gather(*map(stack.enter_async_context, watches), return_exceptions=True)
        refused = [each for each in came if isinstance(each, BaseException)]
        assert [type(each) for each in refused] == [TooManySubscribers] * 20
        assert sum(service.readers(writer.run_id).values()) == 30
    assert not sum(service.readers(writer.run_id).values())


def test_every_outcome_has_a_transition() -> None:
    assert set(_TRANSITIONS) == set(CommandResult)


@pytest.mark.usefixtures("single_beat")
async def test_a_registration_whose_reply_was_lost_is_removed_though_the_next_is_refused(
    service: Service,
) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one)
    async with AsyncExitStack() as stack:
        waiting = one.watch(writer.run_id, limit=1)
        with patch.object(one._subscriptions, "_leave"), reply_lost(), pytest.raises(ServiceUnavailable):
            await stack.enter_async_context(waiting)
        assert registration(one, writer.run_id) is Registration.UNCERTAIN
        assert service.readers(writer.run_id) == {one.replica: 1}
        service.ask("HSET", service.keys.watchers(writer.run_id), other.replica, 1)
        with pytest.raises(TooManySubscribers):
            await stack.enter_async_context(one.watch(writer.run_id, limit=1))
    assert service.readers(writer.run_id) == {other.replica: 1}
    assert not one._subscriptions._subscriptions


@pytest.mark.usefixtures("single_beat")
async def test_a_reader_of_an_uncertain_registration_registers_again(service: Service) -> None:
    (backend,) = await service.replicas(1)
    writer = await begin(backend)
    async with backend.watch(writer.run_id):
        with reply_lost(2), pytest.raises(ServiceUnavailable):
            async with backend.watch(writer.run_id, limit=5):
                pass
        assert registration(backend, writer.run_id) is Registration.UNCERTAIN
        async with backend.watch(writer.run_id):
            assert registration(backend, writer.run_id) is Registration.STORED
            assert service.readers(writer.run_id) == {backend.replica: 0}
    assert service.readers(writer.run_id) == {}


@pytest.mark.usefixtures("single_beat")
async def test_a_reader_who_leaves_during_a_renewal_is_removed_by_the_next_if_the_command_fails(
    service: Service,
) -> None:
    (backend,) = await service.replicas(1)
    subscriptions, run_id = backend._subscriptions, (await begin(backend)).run_id
    renewed, finish = asyncio.Event(), asyncio.Event()
    send = RedisClient.send_background_each

    async def slow(client: RedisClient, *commands: Command) -> list[Any]:
        replies = await send(client, *commands)
        renewed.set()
        await finish.wait()
        return replies

    reading = AsyncExitStack()
    await reading.enter_async_context(backend.watch(run_id, limit=1))
    with patch.object(RedisClient, "send_background_each", slow):
        renewing = asyncio.create_task(subscriptions.renew())
        await renewed.wait()
        leaving = asyncio.create_task(reading.aclose())
        await wait_until(lambda: not subscriptions._subscriptions[run_id].watches)
        with patch.object(RedisClient, "send", side_effect=ServiceUnavailable("away")):
            finish.set()
            await asyncio.gather(renewing, leaving)
    assert service.readers(run_id) == {backend.replica: 1}
    await subscriptions.renew()
    assert service.readers(run_id) == {}
    assert not subscriptions._subscriptions


@pytest.mark.usefixtures("single_beat")
async def test_a_read_that_began_before_an_append_is_not_shared_with_those_who_come_after(
    service: Service,
) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner, events=1)
    read, begun, finish = other._store.read, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Page:
        page = await read(*arguments)
        begun.set()
        await finish.wait()
        return page

    async with asyncio.timeout(TIMEOUT_SECONDS), other.watch(writer.run_id) as watch:
        await quiet(watch)
        position = writer.run_id, 1, 10, watch.incarnation
        with patch.object(other._store, "read", slow):
            early = asyncio.create_task(other.read(*position))
            await begun.wait()
        await writer.write()
        assert await watch.wait(TIMEOUT_SECONDS)
        assert sequences(await other.read(*position)) == [2]
        finish.set()
        assert sequences(await early) == []
