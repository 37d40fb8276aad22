"""Leases: the runs that this replica owns, and those that dead replicas have left behind.

Detecting death without clocks. Every `BEAT_SECONDS` a replica increments its own counter in one hash
and reads all counters (script `beat`). A peer is dead when its counter has not moved over
`BEATS_TO_DEATH` of this replica's own heartbeats. No two clocks are compared, and an outage of Redis
counts against nobody, because this replica then has no heartbeats to count. A round that starts
early, after a failed command, does not count either. Every replica monitors all others. While a
replica's event loop is blocked, its `watchdog` increments the counter.

Finding the runs. A set per replica holds the ids of its unfinished runs. An id is added before its
run is created (script `register`), removed by a heartbeat after the run has ended, and added again
by each renewal. The set may hold too many ids, but never too few.

Fencing. Every write is a script that checks the owner, the next sequence and that the log is open.
Reaping a run means appending its terminal event, `WORKER_LOST`, in the name of the dead owner. After
that atomic step the owner cannot write any more, should it only have been paused. The append is
refused in two cases. If the log is closed, another replica was faster or the run had ended. If the
sequence is taken, the owner has written and is alive; its remaining runs are left to it, and
counting starts again.

Renewal. With each heartbeat the owner extends the time to live of its runs' keys and learns what has
happened to them: a request to cancel whose message was lost, or that a run is missing, closed or
owned by another. That is how a paused replica learns that it was declared dead; it then stops the
agent (`LeaseKeeper.lost`).

Lost replies. A creation without a reply may have been executed, although its caller has reported
503 and will not start the run. The next round of background work checks whether the run exists and
ends it. Appends need no such check: the writer repeats a batch until there is a reply.

Shutdown. A replica without unfinished runs deregisters. Otherwise it stays registered, so that its
peers find the runs.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion import events
from dockrion.backends.owner_messages import CancelRequest, RunRef
from dockrion.backends.redis import records
from dockrion.backends.redis.index import expiry_check
from dockrion.backends.redis.keys import BEAT, RENEW, Command
from dockrion.backends.redis.store import NotOwner, Store
from dockrion.backends.run_log import Run
from dockrion.errors import (
    WORKER_LOST,
    CorruptLog,
    RunClosed,
    RunNotFound,
    SequenceConflict,
    ServiceUnavailable,
)
from dockrion.events import Entry
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
BEAT_SECONDS = 2.0
BEATS_TO_DEATH = 5
_INBOX_TTL = 120
_CHUNK = 100
_LOST = {"error": "the worker that ran this is lost", "code": WORKER_LOST, "details": None}
_NOT_BEGUN = {
    "error": "the backend did not confirm that the run is stored, so it was not begun",
    "code": ServiceUnavailable.code,
    "details": None,
}


class OwnedRun(msgspec.Struct, eq=False):
    """An unfinished run of this replica.

    Attributes:
        incarnation: Its incarnation.
        entry: Its entry in the indexes.
        indexes: The sorted sets that list it.
        watchers: The other replicas that watched it when it was last written.
        cancelled: Whether a request to cancel it was passed on.
    """

    incarnation: str
    entry: str
    indexes: tuple[str, ...]
    watchers: set[str] = msgspec.field(default_factory=set)
    cancelled: bool = False


class LeaseKeeper:
    """Renews the leases of this replica's runs, and ends the runs of dead replicas.

    Args:
        store: What Redis holds.
        replica: This replica.

    Attributes:
        cancels: Requests to cancel owned runs.
        lost: Runs that this replica no longer owns.
    """

    def __init__(self, store: Store, replica: str) -> None:
        self.cancels: asyncio.Queue[CancelRequest] = asyncio.Queue()
        self.lost: asyncio.Queue[RunRef] = asyncio.Queue()
        self._store = store
        self._replica = replica
        self._owned: dict[str, OwnedRun] = {}
        self._ended: dict[str, str] = {}  # run id → index entry; to remove from the set in Redis
        self._unconfirmed: dict[str, Run] = {}  # incarnation → run
        self._peers: dict[str, tuple[bytes, int]] = {}  # replica → counter, and our heartbeats since it moved
        self._counted_at = 0.0

    def get(self, run: Run | RunRef) -> OwnedRun | None:
        """Return a run of this replica."""
        owned = self._owned.get(run.run_id)
        return owned if owned is not None and run.incarnation in (None, owned.incarnation) else None

    def track(self, run: Run) -> None:
        """Track a run that was created here."""
        self._unconfirmed.pop(run.incarnation, None)
        self._ended.pop(run.run_id, None)
        indexes = self._store.keys.indexes(run.owner)
        self._owned[run.run_id] = OwnedRun(run.incarnation, records.index_entry(run), indexes)

    def discard(self, run: Run) -> None:
        """Remove the registration of a run that was not created, with the next heartbeat."""
        if run.run_id not in self._owned:
            self._ended[run.run_id] = records.index_entry(run)

    def track_unconfirmed(self, run: Run) -> None:
        """Track a run whose creation was reported as failed, but may have been executed."""
        self._unconfirmed[run.incarnation] = run

    def release(self, run: Run | RunRef) -> None:
        """Stop tracking a run; the next heartbeat removes its registration."""
        if (owned := self.get(run)) is not None:
            del self._owned[run.run_id]
            self._ended[run.run_id] = owned.entry

    def cancel(self, run: RunRef, reason: str | None) -> None:
        """Pass on a request to cancel, the first of a run."""
        owned = self.get(run)
        if owned is not None and not owned.cancelled:
            owned.cancelled = True
            self.cancels.put_nowait(CancelRequest(run.run_id, owned.incarnation, reason))

    async def beat(self) -> bool:
        """Send a heartbeat of this replica, and observe those of its peers.

        Returns:
            Whether the inbox had to be created, so that earlier messages may have been lost.

        Raises:
            ServiceUnavailable: Redis does not respond, or accepts no writes.
        """
        ended, self._ended = self._ended, {}  # what is added meanwhile is for the next heartbeat
        keys = self._store.keys
        beat = BEAT(
            (keys.replicas, keys.owned(self._replica), keys.inbox(self._replica), keys.expiry),
            self._replica,
            self._store.live_ttl,
            _INBOX_TTL,
            expiry_check(self._store.ttl),
            *(text for item in ended.items() for text in item),
        )
        try:
            (reply,) = await self._store.client.send_background(beat)
        except BaseException:
            unsent = {run_id: entry for run_id, entry in ended.items() if run_id not in self._owned}
            self._ended = unsent | self._ended
            raise
        self._observe_peers([part.decode() for part in reply[1::2]], reply[2::2])
        return bool(reply[0])

    def beat_without_loop(self) -> None:
        """Send a heartbeat from another thread, while the event loop is blocked.

        Raises:
            ServiceUnavailable: Redis does not respond, or accepts no writes.
        """
        replicas = self._store.keys.replicas
        self._store.client.send_without_loop(
            ("HINCRBY", replicas, self._replica, 1), ("EXPIRE", replicas, self._store.live_ttl)
        )

    async def renew(self) -> None:
        """Extend the time to live of the owned runs and their indexes, and handle what has happened to them.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        run_ids = list(self._owned)
        for start in range(0, len(run_ids), _CHUNK):
            chunk = run_ids[start : start + _CHUNK]
            owned = {run_id: self._owned[run_id] for run_id in chunk if run_id in self._owned}
            indexes = {index for each in owned.values() for index in each.indexes}
            expire = [("EXPIRE", index, self._store.live_ttl) for index in indexes]
            # The set may have been deleted, and a heartbeat may have removed a run that was created again.
            add = ("SADD", self._store.keys.owned(self._replica), *owned)
            renewals = [self._renewal(run_id, each.incarnation) for run_id, each in owned.items()]
            replies = await self._store.client.send_background_each(add, *expire, *renewals)
            for (run_id, each), reply in zip(owned.items(), replies[-len(owned) :], strict=True):
                run = RunRef(run_id, each.incarnation)
                state, *reason = [b"unreadable"] if isinstance(reply, CorruptLog) else reply
                if state != b"mine" and self._owned.get(run_id) is each:
                    self.release(run)
                    self.lost.put_nowait(run)
                elif reason:
                    self.cancel(run, records.decode_reason(reason[0]))

    async def reap(self) -> None:
        """End the runs of dead replicas, and runs whose creation was reported as failed.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        await self._end_unconfirmed()
        for replica, (_, silent) in list(self._peers.items()):
            if silent >= BEATS_TO_DEATH:
                await self._reap_replica(replica)
                del self._peers[replica]

    async def deregister(self) -> None:
        """Deregister this replica, so that peers need not wait for its lease to expire.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        if self._owned or self._unconfirmed:  # peers find these by the registration
            return
        keys = self._store.keys
        await self._store.client.send_background(
            ("HDEL", keys.replicas, self._replica),
            ("DEL", keys.owned(self._replica), keys.inbox(self._replica)),
        )

    def _observe_peers(self, replicas: Iterable[str], counters: Iterable[bytes]) -> None:
        """Count for each peer over how many of our heartbeats its counter has not moved."""
        now = time.monotonic()
        regular = now - self._counted_at >= BEAT_SECONDS * 0.9  # not an early round
        peers: dict[str, tuple[bytes, int]] = {}
        for replica, counter in zip(replicas, counters, strict=True):
            before, silent = self._peers.get(replica, (b"", 0))
            peers[replica] = counter, silent + regular if counter == before else 0
        peers.pop(self._replica, None)
        self._peers = peers
        if regular:
            self._counted_at = now

    def _renewal(self, run_id: str, incarnation: str) -> Command:
        keys, ttl = self._store.keys, self._store.live_ttl
        return RENEW((*keys.log(run_id), keys.watchers(run_id)), self._replica, incarnation, ttl)

    async def _end_unconfirmed(self) -> None:
        for run in list(self._unconfirmed.values()):
            with suppress(RunNotFound):
                stored = await self._store.get(run.run_id)
                if stored.incarnation == run.incarnation:
                    await self._fail(self._replica, run.run_id, _NOT_BEGUN)
            if self._unconfirmed.pop(run.incarnation, None) is not None:
                self.discard(run)

    async def _reap_replica(self, replica: str) -> None:
        keys, client = self._store.keys, self._store.client
        (owned,) = await client.send_background_each(("SMEMBERS", keys.owned(replica)))
        ended = 0
        for run_id in () if isinstance(owned, CorruptLog) else owned:
            try:
                ended += await self._fail(replica, run_id.decode(), _LOST)
            except SequenceConflict:  # the replica has written
                return
            await client.send_background(("SREM", keys.owned(replica), run_id))
        await client.send_background(("HDEL", keys.replicas, replica), ("DEL", keys.inbox(replica)))
        log(_logger, logging.WARNING, "replica lost", replica=replica, runs_ended=ended)

    async def _fail(self, owner: str, run_id: str, error: dict[str, Any]) -> bool:
        """Append the terminal event to a run in its owner's name; return whether this call did it.

        Raises:
            SequenceConflict: The owner has written meanwhile.
            ServiceUnavailable: Redis does not respond.
        """
        try:
            run = await self._store.get(run_id)
            if run.finished:
                return False
            failed, entry = _failed(run, error)
            watchers = await self._store.append(owner, failed, [entry])
            await self._store.notify(watchers, run_id)
        except (RunNotFound, RunClosed, NotOwner, CorruptLog):
            return False
        self._ended[run_id] = records.index_entry(run)
        log(_logger, logging.WARNING, "run failed", run_id=run_id, code=error["code"], reason=error["error"])
        return True


def _failed(run: Run, error: dict[str, Any]) -> tuple[Run, Entry]:
    """Return the record and the terminal event of a run that fails now."""
    now = datetime.now(UTC)
    sequence = run.last_sequence + 1
    data = events.encode("error", run.run_id, sequence, now, error)
    failed = msgspec.structs.replace(
        run, status="failed", completed_at=now, error=error, last_sequence=sequence
    )
    return failed, Entry(sequence, "error", data, now.timestamp())
