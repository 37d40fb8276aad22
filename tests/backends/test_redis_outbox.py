"""The outbox in Redis: over replicas, when one dies at any moment, and what it stores."""

import asyncio
from unittest.mock import patch

import msgspec
import pytest

from dockrion.backends.outbox import RETENTION_SECONDS, Delivery, Lease, Outbox
from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.client import RedisClient
from dockrion.errors import ServiceUnavailable
from tests.backends.conformance import MAX_EVENTS, advanced, begin, entries, new_run
from tests.backends.service import Service, reply_lost
from tests.backends.test_conformance_outbox import acknowledge, copying, next_lease, outbox_of, waiting
from tests.support import wait_until


async def replica(service: Service) -> RedisBackend:
    return await service.replica(copying=copying, lease_seconds=0.3)


def stored(service: Service) -> list[str]:
    return [name for name in service.names() if "outbox" in name or "webhooks" in name]


async def take(outbox: Outbox) -> Lease:
    """Claim the next delivery that is overdue."""
    while not (leases := (await outbox.claim(1)).leases):
        await asyncio.sleep(0.01)
    return leases[0]


async def test_a_run_without_a_copied_event_stores_and_sends_nothing_more(service: Service) -> None:
    one = await replica(service)
    plain = await service.replica()
    sent: dict[str, list[int]] = {}
    send = RedisClient.send

    async def counted(
        client: RedisClient, *commands: tuple[str, ...], ordered: int | None = None
    ) -> list[object]:
        lengths = [len(command) for command in commands]
        sent.setdefault("with" if client is one._client else "without", []).extend(lengths)
        return await send(client, *commands, ordered=ordered)

    with patch.object(RedisClient, "send", counted):
        for backend in (one, plain):
            writer = await begin(backend)
            await backend.append(advanced(writer.run, 2), entries(1, 2, "step"))
    assert sent["with"] == sent["without"]
    assert stored(service) == []


async def test_everything_that_waits_expires(service: Service) -> None:
    one = await replica(service)
    writer = await begin(one)
    await writer.finish()
    lease = await next_lease(one)
    await outbox_of(one).postpone(lease, 60)
    assert len(stored(service)) == 4
    assert all(0 <= RETENTION_SECONDS - service.ask("TTL", name) < 60 for name in stored(service))


async def test_what_is_delivered_leaves_no_key(service: Service) -> None:
    one = await replica(service)
    writer = await begin(one)
    await writer.finish()
    for _ in range(2):
        lease = await next_lease(one)
        await acknowledge(one, lease.delivery)
        assert await outbox_of(one).finish(lease) is None
    assert stored(service) == []


async def test_another_replica_takes_over_when_one_dies(service: Service) -> None:
    one, other = await replica(service), await replica(service)
    writer = await begin(one)
    await writer.write(2)
    lease = await next_lease(one)
    await acknowledge(one, lease.delivery)
    await service.kill(one)
    taken = await take(outbox_of(other))
    assert taken.delivery == lease.delivery
    assert [entry.sequence for entry in await waiting(other, taken.delivery)] == [2]


@pytest.mark.usefixtures("fast_beats")
async def test_the_end_of_a_run_whose_replica_died_is_copied_by_the_one_that_ends_it(
    service: Service,
) -> None:
    one, other = await replica(service), await replica(service)
    run = msgspec.structs.replace(new_run(), webhook_url="https://example.com/")
    await one.create(run)
    await service.kill(one)
    lease = await asyncio.wait_for(anext(outbox_of(other).appended()), 10)
    found = await outbox_of(other).undelivered(lease.delivery, 1)
    assert found.events[0].url == run.webhook_url
    assert b"WORKER_LOST" in found.events[0].entry.data


async def test_an_append_whose_reply_is_lost_is_copied_once(service: Service) -> None:
    one = await replica(service)
    writer = await begin(one)
    with reply_lost(), pytest.raises(ServiceUnavailable):
        await writer.write(1)
    await one.append(writer.run, entries(1, 1))
    taken = await take(outbox_of(one))  # who appended does not know that it has the lease
    assert [entry.sequence for entry in await waiting(one, taken.delivery)] == [1]


async def test_a_delivery_that_is_ended_before_the_append_arrives_is_listed_again(service: Service) -> None:
    one, other = await replica(service), await replica(service)
    writer = await begin(one, events=1)
    lease = await next_lease(one)
    await acknowledge(one, lease.delivery)
    send = RedisClient.send
    ended = False

    async def slowly(
        client: RedisClient, *commands: tuple[str, ...], ordered: int | None = None
    ) -> list[object]:
        """Send an append and what is around it one by one, and let the other replica act in between."""
        nonlocal ended
        replies: list[object] = []
        for command in commands:
            replies += await send(client, command, ordered=ordered)
            if client is one._client and len(commands) > 2 and not ended:
                ended = True
                changed = await outbox_of(other).finish(lease)
                assert changed is not None  # it was listed as changed
                assert await waiting(other, lease.delivery) == []
                assert await outbox_of(other).finish(changed) is None
        return replies

    with patch.object(RedisClient, "send", slowly):
        await writer.write(1)
    assert ended
    again = await next_lease(one)
    assert again.delivery == lease.delivery
    assert [entry.sequence for entry in await waiting(one, again.delivery)] == [2]


async def test_a_crash_after_the_append_loses_nothing(service: Service) -> None:
    one = await replica(service)
    writer = await begin(one)
    send = RedisClient.send

    async def dies(
        client: RedisClient, *commands: tuple[str, ...], ordered: int | None = None
    ) -> list[object]:
        if len(commands) > 2:
            await send(client, *commands[:2])
            raise ServiceUnavailable("the process dies")
        return await send(client, *commands, ordered=ordered)

    with patch.object(RedisClient, "send", dies), pytest.raises(ServiceUnavailable):
        await writer.write(1)
    await service.kill(one)
    other = await replica(service)
    taken = await take(outbox_of(other))
    assert [entry.sequence for entry in await waiting(other, taken.delivery)] == [1]


async def test_no_more_events_wait_than_a_log_keeps(service: Service) -> None:
    one = await replica(service)
    writer = await begin(one)
    await writer.write(MAX_EVENTS + 5)
    lease = await next_lease(one)
    found = await outbox_of(one).undelivered(lease.delivery, 100)
    assert found.dropped == 5
    assert [event.entry.sequence for event in found.events] == list(range(6, MAX_EVENTS + 6))


async def test_keys_of_another_type_do_not_harm_the_run(service: Service) -> None:
    one = await replica(service)
    writer = await begin(one)
    for key in service.keys.outbox(writer.run_id, writer.run.incarnation):
        service.ask("SET", key, "x", "EX", 60)
    await writer.write(1)
    lease = await next_lease(one)
    assert [entry.sequence for entry in await waiting(one, lease.delivery)] == [1]


async def test_a_target_that_is_behind_keeps_only_what_it_lacks(service: Service) -> None:
    one = await replica(service)
    writer = await begin(one)
    await writer.write(3)
    await writer.finish()
    outbox, _ = service.keys.outbox(writer.run_id, writer.run.incarnation)
    assert service.ask("XLEN", outbox) == 4
    await acknowledge(one, Delivery(writer.run_id, writer.run.incarnation, "all"), 4)
    assert service.ask("XLEN", outbox) == 1
    await acknowledge(one, Delivery(writer.run_id, writer.run.incarnation, "end"))
    await wait_until(lambda: not service.ask("EXISTS", outbox))
