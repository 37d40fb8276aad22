"""Runs that may be stored although their creation was reported as failed: those begun, and those ended."""

from datetime import timedelta
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.keys import CREATE, OFFER, RELEASE, Command, Script
from dockrion.backends.run_log import Run
from dockrion.errors import RunExists, ServiceUnavailable
from tests.backends.conformance import new_run
from tests.backends.service import Service, reply_lost
from tests.backends.test_redis_queue import JOB, begin_taken, take

pytestmark = pytest.mark.usefixtures("single_beat")


async def create(
    backend: RedisBackend, *, waits: bool, repeatable: bool = True, max_attempts: int = 1
) -> Run:
    """Create a run, and lose the reply.

    Args:
        backend: The replica that creates it.
        waits: Whether it is to wait in the queue.
        repeatable: Whether the request can be sent again.
        max_attempts: How often it may be begun.
    """
    run = new_run(max_attempts=max_attempts)
    creation = backend.create(run, JOB if max_attempts > 1 else None)
    if waits:
        creation.close()
        creation = backend.queue.enqueue(run, JOB, 100)
    with reply_lost(to=CREATE), pytest.raises(ServiceUnavailable):
        await creation
    if repeatable:
        backend.queue.begin_if_stored(run, JOB)
    return run


async def settle(backend: RedisBackend) -> None:
    await backend._reaper._settle_unconfirmed()
    assert not backend._leases.unconfirmed


@pytest.mark.parametrize("max_attempts", [1, 2])
@pytest.mark.parametrize("waits", [True, False])
async def test_a_run_whose_request_can_be_sent_again_is_begun_once(
    service: Service, waits: bool, max_attempts: int
) -> None:
    one, other = await service.replica(), await service.replica()
    run = await create(one, waits=waits, max_attempts=max_attempts)
    await settle(one)
    (taken,) = await take(other, 1)
    assert (taken.run, taken.job) == (run, JOB)
    await settle(one)
    assert not (await one.get(run.run_id)).finished
    await begin_taken(other, taken)
    assert await take(one, 1) == await take(other, 1) == []


@pytest.mark.parametrize("waits", [True, False])
async def test_a_run_whose_request_is_gone_is_ended(service: Service, waits: bool) -> None:
    one = await service.replica()
    run = await create(one, waits=waits, repeatable=False)
    await settle(one)
    assert (await one.get(run.run_id)).error is not None
    assert await take(one, 1) == []


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_run_that_another_replica_has_taken_goes_on(service: Service, repeatable: bool) -> None:
    one, other = await service.replica(), await service.replica()
    await create(one, waits=True, repeatable=repeatable)
    (taken,) = await take(other, 1)
    await settle(one)
    assert (await begin_taken(other, taken)).status == "running"
    assert await take(one, 1) == []


async def test_a_run_that_was_never_offered_is_offered(service: Service) -> None:
    one, other = await service.replica(), await service.replica()
    send = RedisClient.send

    async def cut_off(client: RedisClient, *commands: Command, **more: Any) -> list[Any]:
        if CREATE.digest in commands[0]:
            await send(client, commands[0], **more)
            raise ServiceUnavailable("cut off after the first command")
        return await send(client, *commands, **more)

    run = new_run()
    with patch.object(RedisClient, "send", cut_off), pytest.raises(ServiceUnavailable):
        await one.queue.enqueue(run, JOB, 100)
    one.queue.begin_if_stored(run, JOB)
    service.ask("DEL", service.keys.queue)  # its reservation is over
    await settle(one)
    assert [each.run for each in await take(other, 1)] == [run]


async def test_a_run_that_is_not_stored_is_forgotten(service: Service) -> None:
    one = await service.replica()
    run = await create(one, waits=False)
    service.ask("DEL", service.keys.run(run.run_id))
    await settle(one)
    assert await take(one, 1) == []
    assert run.run_id in one._leases._ended


async def test_a_run_that_was_not_sent_is_not_tracked(service: Service) -> None:
    one = await service.replica()
    one.queue.begin_if_stored(new_run(), JOB)
    assert not one._leases.unconfirmed


@pytest.mark.parametrize("repeatable", [True, False])
async def test_the_same_run_that_the_next_request_has_created_goes_on(
    service: Service, repeatable: bool
) -> None:
    one = await service.replica()
    run = await create(one, waits=False, repeatable=repeatable)
    service.ask("DEL", service.keys.run(run.run_id))
    later = msgspec.structs.replace(run, created_at=run.created_at + timedelta(microseconds=1))
    with patch.object(one._leases, "track"):  # its reply has not arrived yet
        await one.create(later)
    await settle(one)
    assert await one.get(run.run_id) == later
    await one.append(later, [])
    assert await take(one, 1) == []


@pytest.mark.parametrize("script", [RELEASE, OFFER], ids=["release", "offer"])
async def test_a_replica_takes_no_run_before_it_has_settled_that_itself(
    service: Service, script: Script
) -> None:
    one = await service.replica()
    run = await create(one, waits=False)
    with reply_lost(to=script), pytest.raises(ServiceUnavailable):
        await one._reaper._settle_unconfirmed()
    assert await take(one, 1) == []
    await settle(one)
    assert [each.run for each in await take(one, 1)] == [run]


async def test_a_refused_creation_leaves_an_unconfirmed_run_in_the_set_of_its_owner(service: Service) -> None:
    one = await service.replica()
    run = await create(one, waits=False)
    later = msgspec.structs.replace(run, created_at=run.created_at + timedelta(microseconds=1))
    with pytest.raises(RunExists):
        await one.create(later)
    assert not one._leases._ended
