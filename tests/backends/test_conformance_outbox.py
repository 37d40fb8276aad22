"""The outbox: what is copied into it, how deliveries are leased, and when copies are deleted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.backends.outbox import Copy, Delivery, Failures, Lease, Outbox
from dockrion.backends.run_log import Run
from dockrion.caller import CallerRequest
from dockrion.events import Entry
from tests.backends.conformance import (
    DEPLOYMENTS,
    LEASE_SECONDS,
    MAX_EVENTS,
    OUTBOX_BYTES,
    TIMEOUT_SECONDS,
    Writer,
    advanced,
    begin,
    entries,
    forget,
    new_run,
)

TARGETS = {"token": ("all",), "complete": ("all", "end"), "error": ("end",)}


def copying(_: Run, batch: Sequence[Entry]) -> list[Copy]:
    return [Copy(entry, TARGETS[entry.type]) for entry in batch if entry.type in TARGETS]


@pytest.fixture(params=sorted(DEPLOYMENTS))
async def sender(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """A backend with an outbox."""
    async with DEPLOYMENTS[request.param](MAX_EVENTS, copying) as made:
        yield made


def outbox_of(backend: Backend) -> Outbox:
    assert backend.outbox is not None
    return backend.outbox


async def next_lease(backend: Backend) -> Lease:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await anext(outbox_of(backend).appended())


async def claimed(backend: Backend, limit: int = 10) -> list[Lease]:
    """Wait until a lease expires, and claim its delivery."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not (leases := (await outbox_of(backend).claim(limit)).leases):
            await asyncio.sleep(0.01)
        return leases


async def waiting(backend: Backend, delivery: Delivery, limit: int = 100) -> list[Entry]:
    found = await outbox_of(backend).undelivered(delivery, limit)
    return [event.entry for event in found.events]


async def acknowledge(backend: Backend, delivery: Delivery, number: int = 1) -> None:
    """Record that the first events that wait are delivered."""
    found = await outbox_of(backend).undelivered(delivery, number)
    await outbox_of(backend).delivered(delivery, found.events[-1].position)


async def test_a_backend_has_no_outbox_unless_asked(backend: Backend) -> None:
    assert backend.outbox is None


async def test_a_stored_event_is_copied_for_its_targets_and_leased(sender: Backend) -> None:
    writer = await begin(sender)
    run = writer.run
    batch = [*entries(1, 2), *entries(3, 3, "step"), *entries(4, 4, "complete")]
    await sender.append(advanced(run, 4, "completed"), batch)
    leases = [await next_lease(sender), await next_lease(sender)]
    assert [lease.delivery for lease in leases] == [
        Delivery(run.run_id, run.incarnation, "all"),
        Delivery(run.run_id, run.incarnation, "end"),
    ]
    assert await waiting(sender, leases[0].delivery) == [*batch[:2], batch[3]]
    assert await waiting(sender, leases[1].delivery) == batch[3:]
    assert await waiting(sender, leases[0].delivery, 2) == batch[:2]


async def test_an_event_without_a_target_leaves_nothing(sender: Backend) -> None:
    writer = await begin(sender)
    await sender.append(advanced(writer.run, 2), entries(1, 2, "step"))
    state = await outbox_of(sender).claim(10)
    assert (state.waiting, state.oldest_seconds) == (0, 0)
    assert await waiting(sender, Delivery(writer.run_id, writer.run.incarnation, "all")) == []


async def test_a_refused_batch_is_not_copied(sender: Backend) -> None:
    writer = await begin(sender, events=1)
    lease = await next_lease(sender)
    with pytest.raises(Exception, match=writer.run_id):
        await sender.append(advanced(writer.run, 7), entries(6, 7))
    assert await waiting(sender, lease.delivery) == entries(1, 1)


async def test_a_terminal_event_that_closes_a_log_by_force_is_copied(sender: Backend) -> None:
    last = entries(9, 9, "complete")
    await sender.force_close(advanced(new_run(), 9, "failed"), last[0])
    lease = await next_lease(sender)
    assert await waiting(sender, lease.delivery) == last


@pytest.mark.parametrize(
    "request_fields", [{}, {"request_id": "req-1", "traceparent": "00-trace", "tracestate": "a=1"}]
)
async def test_the_url_of_a_run_and_its_request_come_with_its_events(
    sender: Backend, request_fields: dict[str, Any]
) -> None:
    url = "https://example.com/?a=b c"
    run = msgspec.structs.replace(new_run(), webhook_url=url, **request_fields)
    await sender.create(run)
    assert (await sender.get(run.run_id)).webhook_url == url
    assert (await sender.get(run.run_id)).request == CallerRequest(**request_fields)
    await Writer(sender, run).write(1)
    lease = await next_lease(sender)
    found = await outbox_of(sender).undelivered(lease.delivery, 1)
    assert [(event.url, event.request) for event in found.events] == [(url, run.request)]


async def test_events_of_any_size_can_wait(sender: Backend) -> None:
    writer = await begin(sender)
    large = [Entry(number, "token", b'"%s"' % (b"x" * 300_000), 1.5) for number in (1, 2)]
    await sender.append(advanced(writer.run, 2), large)
    lease = await next_lease(sender)
    assert await waiting(sender, lease.delivery) == large[:1]
    await acknowledge(sender, lease.delivery)
    assert await waiting(sender, lease.delivery) == large[1:]


async def test_delivered_events_do_not_wait_any_more_for_that_target(sender: Backend) -> None:
    writer = await begin(sender)
    await writer.write(2)
    await writer.finish()
    one, other = await next_lease(sender), await next_lease(sender)
    await acknowledge(sender, one.delivery, 2)
    assert [entry.sequence for entry in await waiting(sender, one.delivery)] == [3]
    await acknowledge(sender, one.delivery)
    assert await waiting(sender, one.delivery) == []
    assert [entry.sequence for entry in await waiting(sender, other.delivery)] == [3]
    await acknowledge(sender, other.delivery)
    assert await waiting(sender, other.delivery) == []


async def test_a_replica_that_is_behind_does_not_set_a_delivery_back(sender: Backend) -> None:
    writer = await begin(sender)
    await writer.write(2)
    await writer.finish()
    lease = await next_lease(sender)
    positions = [each.position for each in (await outbox_of(sender).undelivered(lease.delivery, 3)).events]
    await outbox_of(sender).delivered(lease.delivery, positions[2])
    await outbox_of(sender).delivered(lease.delivery, positions[0])
    assert await waiting(sender, lease.delivery) == []


async def test_a_delivery_without_waiting_events_can_be_finished(sender: Backend) -> None:
    writer = await begin(sender, events=1)
    lease = await next_lease(sender)
    await acknowledge(sender, lease.delivery)
    assert (await outbox_of(sender).claim(10)).waiting == 1
    assert await outbox_of(sender).finish(lease) is None
    assert (await outbox_of(sender).claim(10)).waiting == 0
    await writer.write(1)  # begins another
    again = await next_lease(sender)
    assert [entry.sequence for entry in await waiting(sender, again.delivery)] == [2]


async def test_a_delivery_to_which_events_were_added_is_not_finished(sender: Backend) -> None:
    writer = await begin(sender, events=1)
    lease = await next_lease(sender)
    await acknowledge(sender, lease.delivery)
    await writer.write(1)
    kept = await outbox_of(sender).finish(lease)
    assert kept is not None
    assert kept.delivery == lease.delivery
    assert [entry.sequence for entry in await waiting(sender, lease.delivery)] == [2]
    await acknowledge(sender, lease.delivery)
    assert await outbox_of(sender).finish(kept) is None


async def test_an_expired_lease_alone_is_claimed_by_another(
    sender: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(sender, events=1)
    await next_lease(sender)
    assert (await outbox_of(sender).claim(10)).leases == []
    microseconds = 50_000
    monkeypatch.setattr(outbox_of(sender), "_lease", microseconds)
    await begin(sender, events=1)
    lease = await next_lease(sender)
    (taken,) = await claimed(sender)
    assert taken.delivery == lease.delivery
    assert taken.until >= lease.until + microseconds
    assert await outbox_of(sender).postpone(lease, 5) is None
    assert await outbox_of(sender).finish(lease) is None
    assert (await outbox_of(sender).claim(10)).waiting == 2


async def test_a_lease_can_be_extended_and_a_delivery_postponed(sender: Backend) -> None:
    writer = await begin(sender, events=1)
    lease = await next_lease(sender)
    extended = await outbox_of(sender).postpone(lease, 3600)
    assert extended is not None
    assert extended.until >= lease.until + (3600 - LEASE_SECONDS) * 1_000_000
    await writer.write(1)  # does not change when to continue
    assert (await outbox_of(sender).claim(10)).leases == []
    postponed = await outbox_of(sender).postpone(extended, 0)
    assert postponed is not None
    (taken,) = await claimed(sender)
    assert taken.delivery == lease.delivery
    assert [entry.sequence for entry in await waiting(sender, taken.delivery)] == [1, 2]


async def test_overdue_deliveries_are_claimed_oldest_first_and_up_to_a_limit(sender: Backend) -> None:
    found = []
    for _ in range(3):
        await begin(sender, events=1)
        found.append(await next_lease(sender))
    for at in (2, 0, 1):
        assert await outbox_of(sender).postpone(found[at], 0) is not None
    order = [lease.delivery for limit in (2, 2) for lease in await claimed(sender, limit)]
    assert order == [found[at].delivery for at in (2, 0, 1)]


async def test_failures_are_remembered_until_an_event_is_delivered(sender: Backend) -> None:
    await begin(sender, events=2)
    lease = await next_lease(sender)
    failures = Failures(3, 1_800_000_000.25)
    assert (await outbox_of(sender).undelivered(lease.delivery, 1)).failures is None
    await outbox_of(sender).failed(lease.delivery, failures)
    assert (await outbox_of(sender).undelivered(lease.delivery, 1)).failures == failures
    await acknowledge(sender, lease.delivery)
    assert (await outbox_of(sender).undelivered(lease.delivery, 1)).failures is None


async def test_the_oldest_event_that_waits_is_known(sender: Backend) -> None:
    await begin(sender, events=1)
    lease = await next_lease(sender)
    found = await outbox_of(sender).undelivered(lease.delivery, 1)
    since = found.events[0].since
    assert 0 <= found.now - since < TIMEOUT_SECONDS
    await outbox_of(sender).postpone(lease, 60, since)
    await asyncio.sleep(0.02)
    state = await outbox_of(sender).claim(10)
    assert state.waiting == 1
    assert 0.02 <= state.oldest_seconds < TIMEOUT_SECONDS


async def test_the_oldest_events_are_dropped_where_too_much_waits(sender: Backend) -> None:
    writer = await begin(sender)
    size = OUTBOX_BYTES // 4
    lease = None
    for number in range(1, 7):
        writer.run = advanced(writer.run, number)
        await sender.append(writer.run, [Entry(number, "token", b'"%s"' % (b"x" * size), 1.5)])
        lease = lease or await next_lease(sender)
    assert lease is not None
    assert [entry.sequence for entry in await waiting(sender, lease.delivery, 1)] == [4]
    assert (await outbox_of(sender).undelivered(lease.delivery, 1)).dropped == 3
    await acknowledge(sender, lease.delivery)
    found = await outbox_of(sender).undelivered(lease.delivery, 1)
    assert (found.dropped, found.events[0].entry.sequence) == (0, 5)


async def test_copies_outlive_their_run_and_are_not_those_of_another_with_its_id(sender: Backend) -> None:
    writer = await begin(sender)
    await writer.finish()
    old = await next_lease(sender), await next_lease(sender)
    await forget(sender, writer.run_id)
    other = await begin(sender, writer.run_id, events=2)
    new = await next_lease(sender)
    assert new.delivery == Delivery(writer.run_id, other.run.incarnation, "all")
    assert [entry.type for entry in await waiting(sender, old[0].delivery)] == ["complete"]
    assert [entry.type for entry in await waiting(sender, new.delivery)] == ["token", "token"]


async def test_an_unknown_delivery_is_empty(sender: Backend) -> None:
    unknown = Delivery("run-0", "0", "all")
    assert await waiting(sender, unknown) == []
    await outbox_of(sender).delivered(unknown, "1-0" if not hasattr(sender, "stored_bytes") else "1")
    await outbox_of(sender).failed(unknown, Failures(1, 1.0))
    assert (await outbox_of(sender).undelivered(unknown, 1)).failures is None
    assert await outbox_of(sender).finish(Lease(unknown, 1)) is None
    assert await outbox_of(sender).postpone(Lease(unknown, 1), 1) is None
