"""The outbox in Redis: copies of events beside each run, and one list of all deliveries.

The copies of a run are a stream in the slot of the run, written by the script that appends to its log; how
far each target has them is in a hash beside it. Both expire by themselves: the log may be gone before. Their
names contain the incarnation, because the run's id may be another run's by then.

The deliveries of the service are a sorted set in the slot of the service, scored by when to look at each
again: when the lease of whoever works on it expires, or a pause after a failure is over. No script can
change both slots, so a delivery is listed before its event is stored, and again after it: between the two
another replica may have found nothing to deliver and ended it. A delivery that is listed already is marked
as changed, so that its holder looks again before it ends it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec

from dockrion.backends.outbox import (
    RETENTION_SECONDS,
    Copying,
    Delivery,
    Failures,
    Lease,
    Overdue,
    Undelivered,
    Waiting,
)
from dockrion.backends.pages import PAGE_BYTES
from dockrion.backends.redis.client import LARGE_BYTES, RedisClient
from dockrion.backends.redis.keys import (
    OUTBOX_ADD,
    OUTBOX_CLAIM,
    OUTBOX_POSTPONE,
    OUTBOX_PROGRESS,
    OUTBOX_READ,
    Command,
    Keys,
)
from dockrion.backends.run_log import Run
from dockrion.caller import NO_REQUEST, CallerRequest
from dockrion.events import Entry

_FIELDS = 7  # of an event in a reply
_CONNECTIONS = 2  # at once; the others are for requests and runs
_packer = msgspec.msgpack.Encoder()
_context: msgspec.msgpack.Decoder[tuple[str | None, str | None, str | None]] = msgspec.msgpack.Decoder(
    tuple[str | None, str | None, str | None]
)
_failures = msgspec.json.Decoder(Failures)


class Copies(NamedTuple):
    """What a batch adds to the outbox.

    Attributes:
        deliveries: The deliveries that it is part of.
        keys: Additional keys of the script that appends.
        arguments: Its additional arguments.
        listing: Lists the deliveries: the command before and after that script.
    """

    deliveries: list[Delivery]
    keys: tuple[str, ...]
    arguments: tuple[bytes | str | int, ...]
    listing: Command


class RedisOutbox:
    """The outbox. Implements `Outbox`, whose docstrings apply.

    Args:
        client: The connections.
        keys: The names.
        copying: Says which events are copied.
        lease_seconds: How long a lease lasts.
    """

    def __init__(self, client: RedisClient, keys: Keys, copying: Copying, lease_seconds: float) -> None:
        self._client = client
        self._keys = keys
        self._copying = copying
        self._lease = round(lease_seconds * 1_000_000)
        self._appended: asyncio.Queue[Lease] = asyncio.Queue()
        self._turns = asyncio.Semaphore(_CONNECTIONS)

    def copies(self, run: Run, entries: Sequence[Entry]) -> Copies | None:
        """Return what a batch adds to the outbox, None for nothing."""
        copies = self._copying(run, entries)
        if not copies:
            return None
        targets = dict.fromkeys(target for copy in copies for target in copy.targets)
        deliveries = [Delivery(run.run_id, run.incarnation, target) for target in targets]
        first = entries[0].sequence
        places = [
            part for copy in copies for part in (copy.entry.sequence - first + 1, " ".join(copy.targets))
        ]
        return Copies(
            deliveries,
            self._keys.outbox(run.run_id, run.incarnation),
            (RETENTION_SECONDS, run.webhook_url or "", _encode_request(run), _packer.encode(places)),
            OUTBOX_ADD(self._keys.deliveries, self._lease, RETENTION_SECONDS, *map(_member, deliveries)),
        )

    def on_appended(self, copies: Copies, before: list[Any], after: list[Any]) -> None:
        """Hand out the leases of deliveries that begin with a batch.

        Args:
            copies: What the batch has added.
            before: The reply to the listing before the batch was stored.
            after: That to the one after it.
        """
        for number, delivery in enumerate(copies.deliveries):
            at = number * 2
            if before[at] or after[at]:
                self._appended.put_nowait(Lease(delivery, int(after[at + 1])))

    async def appended(self) -> AsyncIterator[Lease]:
        while True:
            yield await self._appended.get()

    async def claim(self, limit: int) -> Overdue:
        command = OUTBOX_CLAIM(self._keys.deliveries, self._lease, RETENTION_SECONDS, limit)
        now, waiting, oldest, *claimed = await self._send(command)
        leases = [
            Lease(_delivery(member), int(until))
            for member, until in zip(claimed[::2], claimed[1::2], strict=True)
        ]
        return Overdue(leases, waiting, (int(now) - int(oldest)) / 1_000_000 if int(oldest) else 0.0)

    async def undelivered(self, delivery: Delivery, limit: int) -> Undelivered:
        keys = self._keys.outbox(delivery.run_id, delivery.incarnation)
        reply = await self._send(OUTBOX_READ(keys, delivery.target, limit, PAGE_BYTES))
        while isinstance(reply, int):  # the first event alone is larger
            reply = await self._send(OUTBOX_READ(keys, delivery.target, 1, reply), size=reply)
        now, failures, dropped, *parts = reply
        return Undelivered(
            int(now) / 1_000_000,
            [_waiting(parts[at : at + _FIELDS]) for at in range(0, len(parts), _FIELDS)],
            _failures.decode(failures) if failures else None,
            int(dropped),
        )

    async def delivered(self, delivery: Delivery, position: str) -> None:
        await self._progress(delivery, position, b"")

    async def failed(self, delivery: Delivery, failures: Failures) -> None:
        await self._progress(delivery, "", msgspec.json.encode(failures))

    async def postpone(self, lease: Lease, seconds: float, since: float | None = None) -> Lease | None:
        waits = -1 if since is None else round(since * 1_000_000)
        return await self._postpone(lease, max(round(seconds * 1_000_000), 0), waits)

    async def finish(self, lease: Lease) -> Lease | None:
        return await self._postpone(lease, -1, -1)

    async def _postpone(self, lease: Lease, delay: int, waits: int) -> Lease | None:
        command = OUTBOX_POSTPONE(
            self._keys.deliveries,
            _member(lease.delivery),
            lease.until,
            self._lease,
            RETENTION_SECONDS,
            delay,
            waits,
        )
        until = int(await self._send(command))
        return Lease(lease.delivery, until) if until > 0 else None

    async def _progress(self, delivery: Delivery, position: str, failures: bytes) -> None:
        keys = self._keys.outbox(delivery.run_id, delivery.incarnation)
        await self._send(OUTBOX_PROGRESS(keys, delivery.target, position, failures, RETENTION_SECONDS))

    async def _send(self, command: Command, *, size: int = 0) -> Any:
        async with self._turns:
            if size > LARGE_BYTES:
                (reply,) = await self._client.send_large(command, size=size)
            else:
                (reply,) = await self._client.send(command)
        return reply


def _member(delivery: Delivery) -> str:
    return f"{delivery.run_id}:{delivery.incarnation}:{delivery.target}"


def _delivery(member: bytes) -> Delivery:
    run_id, incarnation, target = member.decode().split(":")
    return Delivery(run_id, incarnation, target)


def _waiting(parts: list[bytes]) -> Waiting:
    position, sequence, event_type, emitted_at, data, url, request = parts
    return Waiting(
        position.decode(),
        int(position.partition(b"-")[0]) / 1000,
        Entry(int(sequence), event_type.decode(), data, float(emitted_at)),
        url.decode() or None,
        _decode_request(request),
    )


def _encode_request(run: Run) -> bytes:
    request = run.request
    context = request.traceparent, request.request_id, request.tracestate
    return _packer.encode(context) if any(context) else b""


def _decode_request(encoded: bytes) -> CallerRequest:
    """Return a request, without its headers; none if a replica of another version encodes it differently."""
    try:
        traceparent, request_id, tracestate = _context.decode(encoded)
    except msgspec.DecodeError:
        return NO_REQUEST
    return CallerRequest(traceparent, request_id=request_id, tracestate=tracestate)
