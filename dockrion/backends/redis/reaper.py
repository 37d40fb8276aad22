"""Reaping: ending the runs that nobody else will end.

Runs of dead replicas. A peer is dead when its counter of heartbeats has not moved over `BEATS_TO_DEATH`
of this replica's own. No two clocks are compared, and an outage of Redis counts against nobody, because
this replica then has no heartbeats to count. A round that starts early, after a failed command, does not
count either.

Fencing. Every write is a script that checks the owner, the next sequence and that the log is open.
Reaping a run means appending its terminal event, `WORKER_LOST`, in the name of the dead owner. After
that atomic step the owner cannot write any more, should it only have been paused. The append is
refused in two cases. If the log is closed, another replica was faster or the run had ended. If the
sequence is taken, the owner has written and is alive; its remaining runs are left to it, and
counting starts again.

Runs that can be begun again. Such a run waits again instead (see `queue`), if what is needed to begin it
is stored: it was not taken yet, or it may have further attempts. One that the dead replica owned counts as
begun, also if that is not stored. Giving it up is the same kind of atomic step.

Runs whose end is lost. Redis may be set back to an earlier state: it is restarted from a snapshot, or a
replica of it that lags takes over. Runs that have ended since are unfinished again, and their ids are in
the set of their owner again. If that is dead, they are reaped with it. If it lives, it finds more ids in
its set than it has runs, and ends those that it does not know. Those that it has only now removed from the
set it examines when its connection is a new one. What escapes all this is found when the index is pruned.

Lost replies. A creation without a reply may have been executed, although its caller has reported
503 and will not start the run. The next round of background work checks whether the run exists. It lets
it wait in the queue if the request can be sent again, which finds the run then, and ends it if not.
Appends need no such check: the writer repeats a batch until there is a reply.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from dockrion.backends.redis import records
from dockrion.backends.redis.keys import FORGET, QUEUE
from dockrion.backends.redis.leases import BEAT_SECONDS, Heartbeat, LeaseKeeper
from dockrion.backends.redis.queue import RedisQueue
from dockrion.backends.redis.store import NotOwner, Store
from dockrion.backends.run_log import Run
from dockrion.backends.work_queue import next_attempt
from dockrion.caller import working_for
from dockrion.errors import (
    WORKER_LOST,
    CorruptLog,
    DockrionError,
    RunClosed,
    RunNotFound,
    SequenceConflict,
    ServiceUnavailable,
)
from dockrion.events import Entry
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
BEATS_TO_DEATH = 5
_LOST = {"error": "the worker that ran this is lost", "code": WORKER_LOST, "details": None}
_NOT_BEGUN = {
    "error": "the backend did not confirm that the run is stored, so it was not begun",
    "code": ServiceUnavailable.code,
    "details": None,
}
_END_LOST = {"error": "the storage has lost how this run ended", "code": DockrionError.code, "details": None}


class Reaper:
    """Ends the runs of dead replicas, and those of this replica that it no longer executes.

    Args:
        store: What Redis holds.
        leases: The runs of this replica.
        queue: Gets the runs that can be begun again.
        replica: This replica.
        max_run_duration: Seconds after its first start in which a run may be begun again, None for no limit.
        on_ended: Called with the record and the terminal event of each run that it ends.
    """

    def __init__(
        self,
        store: Store,
        leases: LeaseKeeper,
        queue: RedisQueue,
        replica: str,
        *,
        max_run_duration: float | None,
        on_ended: Callable[[Run, Entry], None],
    ) -> None:
        self._store = store
        self._leases = leases
        self._queue = queue
        self._replica = replica
        self._max_run_duration = max_run_duration
        self._on_ended = on_ended
        self._peers: dict[str, tuple[bytes, int]] = {}  # replica → counter, and our heartbeats since it moved
        self._counted_at = 0.0

    def observe(self, counters: dict[str, bytes]) -> None:
        """Count for each peer over how many of our heartbeats its counter has not moved."""
        now = time.monotonic()
        regular = now - self._counted_at >= BEAT_SECONDS * 0.9  # not an early round
        peers: dict[str, tuple[bytes, int]] = {}
        for replica, counter in counters.items():
            before, silent = self._peers.get(replica, (b"", 0))
            peers[replica] = counter, silent + regular if counter == before else 0
        peers.pop(self._replica, None)
        self._peers = peers
        if regular:
            self._counted_at = now

    async def reap(self, heartbeat: Heartbeat, *, restarted: bool) -> None:
        """End the runs that nobody else will end.

        Args:
            heartbeat: What the last heartbeat has found.
            restarted: Redis may have been restarted since the one before.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        await self._settle_unconfirmed()
        if heartbeat.owned > self._leases.count:
            await self._end_unknown()
        if restarted:
            for run_id in heartbeat.ended:
                await self._end_lost(self._replica, run_id, begun=True)
        for replica, (_, silent) in list(self._peers.items()):
            if silent >= BEATS_TO_DEATH:
                await self._reap_replica(replica)
                del self._peers[replica]

    async def end_overdue(self, run_ids: Sequence[str]) -> None:
        """End unfinished runs that should have expired, except those of live peers and those that wait.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        for run_id in run_ids:
            with suppress(RunNotFound):
                owner, _ = await self._store.owner(run_id)
                if owner == QUEUE:
                    await self._queue.renew(await self._store.get(run_id))
                elif owner not in self._peers:
                    await self._end_lost(owner, run_id, begun=True)

    async def _settle_unconfirmed(self) -> None:
        for each in self._leases.unconfirmed:
            run, owner, job = each.run, each.owner, each.job
            with suppress(RunNotFound):
                stored = await self._store.get(run.run_id)
                # A request that was sent again may have created the same run meanwhile, at another time.
                if (stored.incarnation, stored.created_at) == (run.incarnation, run.created_at) and not (
                    job and await self._queue.release_as(owner, stored, job=job)
                ):
                    await self._fail(owner, stored, _NOT_BEGUN)
            self._leases.settle_unconfirmed(run)

    async def _end_unknown(self) -> None:
        """End the runs that Redis lists as this replica's, and that it does not know."""
        owned = self._store.keys.owned(self._replica)
        (listed,) = await self._store.client.send_background(("SMEMBERS", owned))
        for run_id in map(bytes.decode, listed):
            await self._end_lost(self._replica, run_id, begun=False)
            if not self._leases.knows(run_id):
                await self._store.client.send_background(("SREM", owned, run_id))

    async def _end_lost(self, owner: str, run_id: str, *, begun: bool) -> None:
        """End a run that nobody executes, unless it has an end, or let it wait if it was not begun.

        Args:
            owner: Its owner.
            run_id: The run.
            begun: Whether its owner may have begun it without having stored that.
        """
        if self._leases.knows(run_id):
            return
        with suppress(RunNotFound, CorruptLog, SequenceConflict):
            run = await self._store.get(run_id)
            if self._leases.knows(run_id):  # it has been created again meanwhile
                return
            if run.status != "accepted" or not await self._queue.release_as(QUEUE if begun else owner, run):
                await self._fail(owner, run, _END_LOST)

    async def _reap_replica(self, replica: str) -> None:
        keys, client = self._store.keys, self._store.client
        (owned,) = await client.send_background_each(("SMEMBERS", keys.owned(replica)))
        ended = again = 0
        for run_id in () if isinstance(owned, CorruptLog) else owned:
            try:
                run = await self._store.get(run_id.decode())
                if await self._begin_again(replica, run):
                    again += 1
                else:
                    ended += await self._end(replica, run)
            except (RunNotFound, CorruptLog):
                pass
            except SequenceConflict:  # the replica has written
                return
            await client.send_background(("SREM", keys.owned(replica), run_id))
        (forgotten,) = await client.send_background(FORGET((keys.replicas, keys.owned(replica)), replica))
        if not forgotten:  # it was only paused, or dies now: its heartbeats are counted again
            return
        await client.send_background(("DEL", keys.inbox(replica)))
        log(_logger, logging.WARNING, "replica lost", replica=replica, runs_ended=ended, runs_waiting=again)

    async def _begin_again(self, owner: str, run: Run) -> bool:
        """Let a run of a dead replica wait for another one; return whether it can."""
        if run.finished:
            return False
        if run.status == "accepted" and await self._queue.release_as(QUEUE, run):  # it was not taken
            return True
        if run.attempt >= run.max_attempts or self._is_over(run):
            return False
        if await self._store.requested_cancel(run.run_id) is not None:
            return False
        return await self._queue.release_as(owner, next_attempt(run, "worker_lost"))

    def _is_over(self, run: Run) -> bool:
        """Return whether a run has had the time that it may take."""
        if run.started_at is None or self._max_run_duration is None:
            return False
        return (datetime.now(UTC) - run.started_at).total_seconds() >= self._max_run_duration

    async def _end(self, owner: str, run: Run) -> bool:
        """End a run of a dead replica, as cancelled if that was requested; return whether this call did it.

        Raises:
            SequenceConflict: The owner has written meanwhile.
            ServiceUnavailable: Redis does not respond.
        """
        if run.finished:
            return False
        reason = await self._store.requested_cancel(run.run_id)
        if reason is None:
            return await self._fail(owner, run, _LOST)
        with working_for(run.request):
            return await self._queue.cancel_as(owner, run, records.decode_reason(reason))

    async def _fail(self, owner: str, run: Run, error: dict[str, Any]) -> bool:
        """Append the terminal event to a run in its owner's name; return whether this call did it.

        Raises:
            SequenceConflict: The owner has written meanwhile.
            ServiceUnavailable: Redis does not respond.
        """
        if run.finished:
            return False
        run_id = run.run_id
        failed, entry = records.failed(run, error)
        try:
            watchers = await self._store.append(owner, failed, [entry], drops_job=True)
            await self._store.notify(watchers, run_id)
        except (RunNotFound, RunClosed, NotOwner, CorruptLog):
            return False
        self._leases.discard(run)
        self._on_ended(failed, entry)
        with working_for(run.request):
            code, reason = error["code"], error["error"]
            log(_logger, logging.WARNING, "run failed", run_id=run_id, code=code, reason=reason)
        return True
