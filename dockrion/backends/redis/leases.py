"""Leases: the runs that this replica owns.

Heartbeats. Every `BEAT_SECONDS` a replica increments its own counter in one hash and reads all counters
(script `beat`), by which every replica monitors all others (see `reaper`). While its event loop is
blocked, its `watchdog` increments the counter.

Finding the runs. A set per replica holds the ids of its unfinished runs. An id is added before its
run is created (script `register`), removed by a heartbeat after the run has ended, and added again
by each renewal. The set may hold too many ids, but never too few.

Renewal. With each heartbeat the owner extends the time to live of its runs' keys and learns what has
happened to them: a request to cancel whose message was lost; that a run is missing, closed or owned by
another; or that its log is shorter than it was. That is how a paused replica learns that it was declared
dead, and how any replica learns that Redis was set back; it then stops the agent (`LeaseKeeper.lost`).

Shutdown. A replica without unfinished runs deregisters. Otherwise it stays registered, so that its
peers find the runs.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from dockrion.backends.owner_messages import CancelRequest, RunRef
from dockrion.backends.redis import records
from dockrion.backends.redis.health import NewerFormat
from dockrion.backends.redis.index import expiry_check
from dockrion.backends.redis.keys import BEAT, OPEN_INBOX, RENEW, Command
from dockrion.backends.redis.store import Store
from dockrion.backends.redis.unconfirmed import UnconfirmedRuns
from dockrion.backends.run_log import Run
from dockrion.errors import CorruptLog

BEAT_SECONDS = 2.0
_INBOX_TTL = 120
_CHUNK = 100


class Heartbeat(msgspec.Struct, frozen=True):
    """What a heartbeat has found.

    Attributes:
        inbox_created: The inbox had to be created, so earlier messages may have been lost.
        set_back: Redis does not know of the last heartbeat.
        owned: How many unfinished runs of this replica Redis lists.
        waiting: How many runs are in the queue.
        counters: The number of heartbeats of each replica.
        ended: The ids of the runs that it has removed from that list, since they have ended.
    """

    inbox_created: bool
    set_back: bool
    owned: int
    waiting: int
    counters: dict[str, bytes]
    ended: list[str]


class OwnedRun(msgspec.Struct, eq=False):
    """An unfinished run of this replica.

    Attributes:
        incarnation: Its incarnation.
        entry: Its entry in the indexes.
        indexes: The sorted sets that list it.
        last_sequence: The last event that is stored.
        watchers: The other replicas that watched it when it was last written.
        cancelled: Whether a request to cancel it was passed on.
        has_job: Whether what another replica needs to begin it is stored.
        keeps_job: Whether that is kept until its end.
    """

    incarnation: str
    entry: str
    indexes: tuple[str, ...]
    last_sequence: int = 0
    watchers: set[str] = msgspec.field(default_factory=set)
    cancelled: bool = False
    has_job: bool = False
    keeps_job: bool = False


class LeaseKeeper:
    """Renews the leases of this replica's runs.

    Args:
        store: What Redis holds.
        replica: This replica.

    Attributes:
        cancels: Requests to cancel owned runs.
        lost: Runs that this replica no longer owns.
        unconfirmed: The runs that it may own, or have put into the queue.
    """

    def __init__(self, store: Store, replica: str) -> None:
        self.cancels: asyncio.Queue[CancelRequest] = asyncio.Queue()
        self.lost: asyncio.Queue[RunRef] = asyncio.Queue()
        self._store = store
        self._replica = replica
        self._format = records.FORMAT
        self._owned: dict[str, OwnedRun] = {}
        self._ended: dict[str, str] = {}  # run id → index entry; to remove from the set in Redis
        self._creating: dict[str, str] = {}  # incarnation → run id
        self._taking: Counter[str] = Counter()  # run ids
        self.unconfirmed = UnconfirmedRuns()
        self._beats = 0

    @property
    def count(self) -> int:
        """How many unfinished runs this replica has."""
        return len(self._owned)

    def knows(self, run_id: str) -> bool:
        """Return whether an id in the set of this replica is accounted for."""
        return (
            run_id in self._owned
            or run_id in self._ended
            or run_id in self._taking
            or run_id in self._creating.values()
            or run_id in self.unconfirmed
        )

    def owns(self, run_id: str) -> bool:
        """Return whether a run is one of this replica's."""
        return run_id in self._owned

    def get(self, run: Run | RunRef) -> OwnedRun | None:
        """Return a run of this replica."""
        owned = self._owned.get(run.run_id)
        return owned if owned is not None and run.incarnation in (None, owned.incarnation) else None

    @contextmanager
    def creating(self, run: Run) -> Iterator[None]:
        """Account for a run while the command that creates it is under way."""
        self._creating[run.incarnation] = run.run_id
        try:
            yield
        finally:
            del self._creating[run.incarnation]

    @contextmanager
    def taking(self, run_ids: Iterable[str]) -> Iterator[None]:
        """Account for runs while the commands that take them from the queue are under way."""
        taking = Counter(run_ids)
        self._taking += taking
        for run_id in taking:  # which is in the set again
            self._ended.pop(run_id, None)
        try:
            yield
        finally:
            self._taking -= taking

    def track(self, run: Run, *, has_job: bool = False) -> None:
        """Track a run that was created or taken here.

        Args:
            run: Its record.
            has_job: Whether what another replica needs to begin it is stored.
        """
        self.unconfirmed.remove(run)
        self._ended.pop(run.run_id, None)
        indexes = self._store.indexes(run)
        self._owned[run.run_id] = OwnedRun(
            run.incarnation,
            records.index_entry(run),
            indexes,
            run.last_sequence,
            has_job=has_job,
            keeps_job=run.max_attempts > 1,
        )

    def discard(self, run: Run) -> None:
        """Remove the registration of a run that was not created, with the next heartbeat."""
        if not self.knows(run.run_id):
            self._ended[run.run_id] = records.index_entry(run)

    def settle_unconfirmed(self, run: Run) -> None:
        """Stop tracking an unconfirmed run: it is ended, waits for a replica, or was not created."""
        if self.unconfirmed.remove(run):
            self.discard(run)

    def abandon(self, run: Run) -> None:
        """Stop tracking a run whose end could not be stored; the next round of background work ends it."""
        if self.get(run) is not None:
            del self._owned[run.run_id]

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

    async def beat(self) -> Heartbeat:
        """Send a heartbeat of this replica.

        Raises:
            ServiceUnavailable: Redis does not respond, accepts no writes, or holds data of a newer version.
        """
        ended, self._ended = self._ended, {}  # what is added meanwhile is for the next heartbeat
        try:
            listed, waiting, *rest = await self._count_beat(ended)
            inbox = self._store.keys.inbox(self._replica)
            (created,) = await self._store.client.send_background(OPEN_INBOX((inbox,), _INBOX_TTL))
        except BaseException:
            unsent = {run_id: entry for run_id, entry in ended.items() if run_id not in self._owned}
            self._ended = unsent | self._ended
            raise
        counters = {replica.decode(): count for replica, count in zip(rest[::2], rest[1::2], strict=True)}
        before, self._beats = self._beats, int(counters[self._replica])
        return Heartbeat(bool(created), self._beats <= before, listed, waiting, counters, list(ended))

    async def _count_beat(self, ended: dict[str, str]) -> list[Any]:
        keys = self._store.keys
        beat = BEAT(
            (keys.replicas, keys.owned(self._replica), keys.expiry, keys.format, keys.queue, keys.job_sizes),
            self._replica,
            self._store.live_ttl,
            expiry_check(self._store.ttl),
            self._format,
            *(text for item in ended.items() for text in item),
        )
        (reply,) = await self._store.client.send_background(beat)
        if reply[0] == b"newer":
            raise NewerFormat(reply[1], self._format)
        return list(reply)

    def beat_without_loop(self) -> None:
        """Send a heartbeat from another thread, while the event loop is blocked.

        Raises:
            ServiceUnavailable: Redis does not respond, or accepts no writes.
        """
        replicas = self._store.keys.replicas
        self._store.client.send_without_loop(
            replicas, ("HINCRBY", replicas, self._replica, 1), ("EXPIRE", replicas, self._store.live_ttl)
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
            stored = {run_id: each.last_sequence for run_id, each in owned.items()}
            renewals = [self._renewal(run_id, each.incarnation) for run_id, each in owned.items()]
            replies = await self._store.client.send_background_each(add, *expire, *renewals)
            for (run_id, each), reply in zip(owned.items(), replies[-len(owned) :], strict=True):
                run = RunRef(run_id, each.incarnation)
                unreadable: list[Any] = [b"unreadable", 0]
                state, last, *reason = unreadable if isinstance(reply, CorruptLog) else reply
                if state == b"mine" and last >= stored[run_id]:
                    if reason:
                        self.cancel(run, records.decode_reason(reason[0]))
                elif self._owned.get(run_id) is each:
                    self.release(run)
                    self.lost.put_nowait(run)

    async def deregister(self) -> None:
        """Deregister this replica, so that peers need not wait for its lease to expire.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        if self._owned or self.unconfirmed:
            return
        keys = self._store.keys
        await self._store.client.send_background(
            ("SREM", keys.idle, self._replica),
            ("HDEL", keys.replicas, self._replica),
            ("HDEL", keys.declarations, self._replica),
            ("DEL", keys.owned(self._replica)),
            ("DEL", keys.inbox(self._replica)),
        )

    def _renewal(self, run_id: str, incarnation: str) -> Command:
        keys, ttl = self._store.keys, self._store.live_ttl
        return RENEW((*keys.log(run_id), keys.watchers(run_id)), self._replica, incarnation, ttl)
