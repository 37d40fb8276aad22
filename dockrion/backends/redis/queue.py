"""The work queue in Redis: runs that wait for a replica with a free slot.

A waiting run is stored as any other; its owner is `QUEUE`, and beside its record there is its job. Its
index entry is in a sorted set, whose score is the time from which it may be taken, by the clock of Redis:
at once for a new run, later for one whose attempt before was lost. Those come first when it is time.

Taking is two steps, each atomic on its own keys. `pop` removes the first entries and lists their runs as
owned by the taker, where the others find them if it dies now; `take` changes the owner from `QUEUE` to it.
An entry without a waiting run is dropped. So a run may have two entries, but is taken once. Replies so late
that others may have taken this replica for dead, and its runs, count as lost.

Wake-ups. A replica that finds fewer runs than it has free slots is listed as idle in the same step. Who
offers a run removes one of these and sends it a message; it looks at the queue then, or passes the message
on if its slots were taken meanwhile. A replica that is not listed looks whenever a slot is freed. Hence
runs wait only while all slots are taken, without a command more as long as none waits. The heartbeat looks,
too, which bounds what a lost message costs.

Enqueuing is two round trips: the entry is reserved first, which is where the limit counts, then the run is
created and offered. If its creator dies in between, the reservation becomes due and leads to a run or none.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence

from dockrion.backends.owner_messages import CancelRequest
from dockrion.backends.redis import records
from dockrion.backends.redis.client import LARGE_BYTES
from dockrion.backends.redis.health import in_time
from dockrion.backends.redis.keys import (
    DEQUEUE,
    ENQUEUE,
    OFFER,
    PASS,
    POP,
    QUEUE,
    RELEASE,
    TAKE,
    WAITING,
    Command,
)
from dockrion.backends.redis.leases import BEAT_SECONDS, LeaseKeeper
from dockrion.backends.redis.store import NotOwner, Store
from dockrion.backends.run_log import Run
from dockrion.backends.work_queue import QueueState, TakenRun
from dockrion.errors import CorruptLog, RunClosed, RunExists, RunNotFound, ServiceUnavailable, TooManyRuns
from dockrion.events import Entry
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
_RESERVED_MILLISECONDS = 5_000
_NOT_NOW_SECONDS = 1.0
_LATE_SECONDS = 4 * BEAT_SECONDS
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 1.0, 30.0
_SPARE_SECONDS = 3600  # between the check whether a waiting run has expired, which renews it, and its expiry


class RedisQueue:
    """Implements `WorkQueue`, whose docstrings apply.

    Args:
        store: What Redis holds.
        leases: The runs of this replica.
        replica: This replica.
        on_ended: Called with the record and the terminal event of each run that is cancelled while it waits.
    """

    def __init__(
        self,
        store: Store,
        leases: LeaseKeeper,
        replica: str,
        on_ended: Callable[[Run, Entry], None],
    ) -> None:
        self._on_ended = on_ended
        self._store = store
        self._leases = leases
        self._replica = replica
        self._idle = False  # whether it is listed as such
        self._arrived = asyncio.Event()

    async def enqueue(self, run: Run, job: bytes, limit: int) -> None:
        store, keys, entry = self._store, self._store.keys, records.index_entry(run)
        body = records.encode_raw(run.input)
        reserve = ENQUEUE(
            (keys.queue, keys.job_sizes, keys.expiry, *store.indexes(run)),
            entry,
            len(job),
            limit,
            _RESERVED_MILLISECONDS,
            time.time() + store.live_ttl,
            store.live_ttl + _SPARE_SECONDS,
        )
        (reserved,) = await store.client.send(reserve)
        if not reserved:
            raise TooManyRuns(f"{limit} runs are waiting already; try again later")
        create = store.creation(QUEUE, run, body, job, store.live_ttl + _SPARE_SECONDS)
        try:
            created, idle = await store.send_sized(len(job) + len(body), create, self._offer(entry, len(job)))
        except (ServiceUnavailable, asyncio.CancelledError):
            self._leases.unconfirmed.add(run, QUEUE)
            raise
        if not created:
            await self._remove(run)
            raise RunExists(run.run_id)
        await self._notify(idle)

    def begin_if_stored(self, run: Run, job: bytes) -> None:
        self._leases.unconfirmed.begin_if_stored(run, job)

    async def take(self, slots: int, in_flight: Callable[[str], bool]) -> list[TakenRun]:
        keys = self._store.keys
        touched = (keys.queue, keys.job_sizes, keys.idle, keys.owned(self._replica), keys.replicas)
        pop = POP(touched, self._replica, slots, self._store.live_ttl)
        self._idle = True  # before the command is sent: a message may arrive before its reply
        try:
            (popped,) = await in_time(self._store.client.send(pop), _LATE_SECONDS)
        except BaseException:
            self._idle = False
            raise
        if len(popped) >= 2 * slots:
            self._idle = False
        sizes = {entry.decode(): int(size) for entry, size in zip(popped[::2], popped[1::2], strict=True)}
        with self._leases.taking(records.run_id_of(entry) for entry in sizes):
            return await self._take(sizes, in_flight)

    async def release(self, run: Run) -> bool:
        if not await self.release_as(self._replica, run, delay=0):
            return False
        self._leases.release(run)
        return True

    async def release_as(self, owner: str, run: Run, delay: float | None = None, *, job: bytes = b"") -> bool:
        """Let a run wait again that its owner has given up, or that it has never begun.

        Args:
            owner: Its owner, or `QUEUE`.
            run: The record from now on.
            delay: Seconds until it may be taken; None for one that grows with the attempts.
            job: What is needed to begin it, if that may not be stored.

        Returns:
            Whether it waits; False if it cannot be begun again, or has another owner.
        """
        keys = self._store.keys
        record, whole = records.encode_run(run)
        give_up = RELEASE(
            (*keys.log(run.run_id), keys.watchers(run.run_id)),
            owner,
            run.incarnation,
            run.last_sequence,
            record,
            whole,
            self._store.live_ttl + _SPARE_SECONDS,
            job,
        )
        try:
            size = await self._store.query(run.run_id, give_up, size=len(job))
        except RunNotFound:
            return False
        if delay is None:
            delay = min(_FIRST_DELAY_SECONDS * 2 ** max(run.attempt - 2, 0), _LONGEST_DELAY_SECONDS)
            delay = delay if run.attempt > 1 else 0
        await self.offer(records.index_entry(run), size, delay)
        return True

    async def offer(self, entry: str, size: int, delay: float = 0) -> None:
        """Put a run that is stored as waiting back into the queue, before new ones; see `release_as`."""
        (idle,) = await self._store.client.send(self._offer(entry, size, int(delay * 1000), again=True))
        await self._notify(idle)

    async def renew(self, run: Run) -> None:
        """Extend the time to live of a run that waits, and put it into the queue if it is not there."""
        store, entry, ttl = self._store, records.index_entry(run), self._store.live_ttl + _SPARE_SECONDS
        await store.client.send(
            *(("EXPIRE", index, ttl) for index in store.indexes(run)),
            *(("EXPIRE", key, ttl) for key in store.keys.log(run.run_id)),
            ordered=0,
        )
        (score,) = await store.client.send(("ZSCORE", store.keys.queue, entry))
        if score is None:
            await self.release_as(QUEUE, run)

    async def cancel(self, run_id: str, reason: str | None, incarnation: str | None) -> None:
        """End a run that waits as cancelled. If a replica has taken it meanwhile, that one cancels it."""
        run = await self._store.get(run_id)
        if run.finished or incarnation not in (None, run.incarnation):
            return
        if await self.cancel_as(QUEUE, run, reason):
            await self._remove(run)

    async def cancel_as(self, owner: str, run: Run, reason: str | None) -> bool:
        """End a run that nobody executes as cancelled; return whether this call did it.

        Args:
            owner: Its owner, or `QUEUE`.
            run: Its record.
            reason: Why, masked.
        """
        cancelled, last = records.cancelled(run, reason)
        try:
            watchers = await self._store.append(owner, cancelled, [last], drops_job=True)
        except (RunClosed, NotOwner):
            return False
        await self._store.notify(watchers, run.run_id)
        self._on_ended(cancelled, last)
        log(_logger, logging.INFO, "run cancelled", run_id=run.run_id, reason=reason)
        return True

    def slot_freed(self) -> None:
        if not self._idle:
            self._arrived.set()

    def wake(self) -> None:
        """Look at the queue: there is a run for this replica, which is no longer listed as idle."""
        self._idle = False
        self._arrived.set()

    async def decline(self) -> None:
        if self._idle:
            return
        keys = self._store.keys
        (idle,) = await self._store.client.send(PASS((keys.queue, keys.idle, keys.replicas), self._replica))
        await self._notify(idle)

    async def arrivals(self) -> AsyncIterator[None]:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            yield

    async def queue_state(self) -> QueueState:
        keys = self._store.keys
        ((length, milliseconds, size),) = await self._store.client.send(WAITING((keys.queue, keys.job_sizes)))
        return QueueState(length, milliseconds / 1000, size)

    async def _take(self, sizes: dict[str, int], in_flight: Callable[[str], bool]) -> list[TakenRun]:
        taken: list[TakenRun] = []
        batches: list[list[str]] = [[]]
        try:
            for entry, size in sizes.items():
                run_id = records.run_id_of(entry)
                if self._leases.owns(run_id) or run_id in self._leases.unconfirmed or in_flight(run_id):
                    await self.offer(entry, size, _NOT_NOW_SECONDS)
                elif size > LARGE_BYTES:
                    batches.append([entry])
                else:
                    batches[0].append(entry)
            for batch in batches:
                if batch:
                    taken += await self._take_entries(batch, sum(sizes[entry] for entry in batch))
        except (ServiceUnavailable, CorruptLog):  # the background work offers the others again
            if not taken:
                raise
        return taken

    async def _take_entries(self, entries: Sequence[str], size: int) -> list[TakenRun]:
        key_of = self._store.keys.run
        commands = [TAKE((key_of(records.run_id_of(entry)),), self._replica, entry) for entry in entries]
        taken: list[TakenRun] = []
        sent = self._store.send_sized(size, *commands, ordered=0)
        for reply in await (sent if size > LARGE_BYTES else in_time(sent, _LATE_SECONDS)):
            if reply is None:  # it does not wait any more
                continue
            record, whole, incarnation, job, cancel = reply
            try:
                run = records.decode_whole(record, whole, None, incarnation)
            except CorruptLog:
                continue
            self._leases.track(run, has_job=True)
            request = None
            if cancel is not None:
                request = CancelRequest(run.run_id, run.incarnation, records.decode_reason(cancel))
            taken.append(TakenRun(run, job, request))
        return taken

    def _offer(self, entry: str, size: int, milliseconds: int = 0, *, again: bool = False) -> Command:
        keys = self._store.keys
        return OFFER(
            (keys.queue, keys.job_sizes, keys.idle, keys.replicas),
            entry,
            size,
            int(again),
            milliseconds,
            self._store.live_ttl,
        )

    async def _notify(self, replica: bytes | None) -> None:
        """Tell a replica that was listed as idle that there is a run for it."""
        if not replica:
            return
        if replica.decode() == self._replica:
            self.wake()
        else:
            await self._store.notify_of_work(replica.decode())

    async def _remove(self, run: Run) -> None:
        keys = self._store.keys
        await self._store.client.send(DEQUEUE((keys.queue, keys.job_sizes), records.index_entry(run)))
