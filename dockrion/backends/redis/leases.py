"""The runs that a replica owns, and those that dead ones have left behind."""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion import errors, events
from dockrion.backends.redis import records
from dockrion.backends.redis.keys import BEAT, RENEW, Command
from dockrion.backends.redis.store import Foreign, Store
from dockrion.backends.run_log import Run
from dockrion.errors import CorruptLog, RunClosed, RunNotFound, SequenceConflict, ServiceUnavailable
from dockrion.events import Entry
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
BEAT_SECONDS = 2.0
BEATS_TO_DEATH = 5
_CONTROL_SECONDS = 120
_SETTLE_SECONDS = 60  # keys are gone when somebody looks
_CHUNK = 100
_WORKER_LOST = {"error": "the worker that ran this is lost", "code": errors.WORKER_LOST, "details": None}
_NOT_BEGUN = {
    "error": "the backend did not confirm that the run is stored, so it was not begun",
    "code": ServiceUnavailable.code,
    "details": None,
}


class Owned(msgspec.Struct, eq=False):
    """A run of this replica's.

    Attributes:
        entry: Its place in the index.
        indexes: Where it is listed.
        watchers: The other replicas that watched it when it was last written.
        cancelled: Whether a request to cancel it was passed on.
    """

    entry: str
    indexes: tuple[str, ...]
    watchers: set[str] = msgspec.field(default_factory=set)
    cancelled: bool = False


class Custody:
    """Keeps this replica's runs alive, and ends those of replicas that are not.

    Every replica counts its beats in Redis. One whose count stands still over `BEATS_TO_DEATH`
    beats of another replica is dead: no clocks are compared, and the time in which Redis itself
    was away does not count.

    Args:
        store: Where the runs are.
        replica: This replica.
        on_cancel: Called with the id of an owned run, and the reason.
        on_lost: Called with the id of a run that is not ours to write any more.
    """

    def __init__(
        self,
        store: Store,
        replica: str,
        *,
        on_cancel: Callable[[str, str | None], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._store = store
        self._replica = replica
        self._on_cancel = on_cancel
        self._on_lost = on_lost
        self._owned: dict[str, Owned] = {}
        self._over: dict[str, str] = {}
        self._unconfirmed: dict[str, Run] = {}
        self._others: dict[str, tuple[bytes, int]] = {}
        self._counted_at = 0.0

    def get(self, run_id: str) -> Owned | None:
        return self._owned.get(run_id)

    def took(self, run: Run) -> None:
        """Note that a run was created here."""
        self._unconfirmed.pop(run.run_id, None)
        self._over.pop(run.run_id, None)
        self._owned[run.run_id] = Owned(records.index_entry(run), self._store.keys.indexes(run.owner))

    def refused(self, run: Run) -> None:
        """Note that a run was not created, after all."""
        if run.run_id not in self._owned:
            self._over[run.run_id] = records.index_entry(run)

    def unconfirmed(self, run: Run) -> None:
        """Note that nobody knows whether a run was created, and nobody counts on it."""
        self._unconfirmed[run.run_id] = run

    def finished(self, run_id: str) -> None:
        """Note that a run of this replica's is over."""
        if (owned := self._owned.pop(run_id, None)) is not None:
            self._over[run_id] = owned.entry

    def cancel(self, run_id: str, reason: str | None) -> None:
        """Pass a request to cancel on, once."""
        owned = self._owned.get(run_id)
        if owned is not None and not owned.cancelled:
            owned.cancelled = True
            self._on_cancel(run_id, reason)

    async def beat(self) -> bool:
        """Show that this replica is alive, and see who else is.

        Returns:
            Whether notes for this replica may have been lost.

        Raises:
            ServiceUnavailable: Redis is away, or takes no writes.
        """
        over = dict(self._over)
        keys, link = self._store.keys, self._store.link
        beat = BEAT(
            (keys.replicas, keys.owned(self._replica), keys.control(self._replica), keys.expiry),
            self._replica,
            self._store.live_ttl,
            _CONTROL_SECONDS,
            time.time() + self._store.ttl + _SETTLE_SECONDS,
            *(text for item in over.items() for text in item),
        )
        (reply,) = await link.keep(beat)
        for run_id in over:
            self._over.pop(run_id, None)
        self._count([part.decode() for part in reply[1::2]], reply[2::2])
        return bool(reply[0])

    async def renew(self) -> None:
        """Keep the owned runs, and what lists them, from expiring, and see what happened to the runs.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        run_ids = list(self._owned)
        for start in range(0, len(run_ids), _CHUNK):
            chunk = run_ids[start : start + _CHUNK]
            owned = [self._owned[run_id] for run_id in chunk if run_id in self._owned]
            indexes = {index for each in owned for index in each.indexes}
            kept = [("EXPIRE", index, self._store.live_ttl) for index in indexes]
            # Who has deleted the set, or a beat that crossed a creation, must not hide them from others.
            listed = ("SADD", self._store.keys.owned(self._replica), *chunk)
            replies = await self._store.link.keep_each(listed, *kept, *map(self._renewal, chunk))
            for run_id, reply in zip(chunk, replies[-len(chunk) :], strict=True):
                state, *reason = [b"unreadable"] if isinstance(reply, CorruptLog) else reply
                if state != b"mine" and run_id in self._owned:
                    self.finished(run_id)
                    self._on_lost(run_id)
                elif reason:
                    self.cancel(run_id, records.decode_reason(reason[0]))

    async def bury(self) -> None:
        """End the runs of dead replicas, and our own that cannot begin.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        await self._end_unconfirmed()
        for replica, (_, still) in list(self._others.items()):
            if still >= BEATS_TO_DEATH:
                await self._end_runs_of(replica)
                del self._others[replica]

    async def sweep(self) -> None:
        """Forget the index entries of runs that have expired.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        keys, link = self._store.keys, self._store.link
        while True:
            now = time.time()
            (due,) = await link.keep(("ZRANGEBYSCORE", keys.expiry, "-inf", now, "LIMIT", 0, _CHUNK))
            if not due:
                return
            named = await link.keep(
                *(("HGET", keys.run(records.run_id_of(entry.decode())), "entry") for entry in due)
            )
            gone = [entry for entry, name in zip(due, named, strict=True) if entry != name]
            there = [entry for entry, name in zip(due, named, strict=True) if entry == name]
            commands: list[Command] = []
            if gone:
                commands += [("ZREM", keys.runs, *gone), ("ZREM", keys.expiry, *gone)]
            commands += [("ZADD", keys.expiry, now + _SETTLE_SECONDS, entry) for entry in there]
            await link.keep(*commands)

    async def leave(self) -> None:
        """Say good-bye, so that nobody has to find out.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        if self._owned or self._unconfirmed:  # they are to be found
            return
        keys = self._store.keys
        await self._store.link.keep(
            ("HDEL", keys.replicas, self._replica),
            ("DEL", keys.owned(self._replica), keys.control(self._replica)),
        )

    async def _end_unconfirmed(self) -> None:
        """End runs that were stored though nobody knew: whoever asked for them was told to ask again."""
        for run in list(self._unconfirmed.values()):
            with suppress(RunNotFound):
                if (await self._store.get(run.run_id)).created_at == run.created_at:
                    await self._end(self._replica, run.run_id, _NOT_BEGUN)
            if self._unconfirmed.pop(run.run_id, None) is not None:
                self.refused(run)

    def _count(self, replicas: Iterable[str], beats: Iterable[bytes]) -> None:
        """Count, at most once in a beat's time, how long each replica has stood still."""
        now = time.monotonic()
        tick = now - self._counted_at >= BEAT_SECONDS * 0.9
        others: dict[str, tuple[bytes, int]] = {}
        for replica, beat in zip(replicas, beats, strict=True):
            before, still = self._others.get(replica, (b"", 0))
            others[replica] = beat, still + tick if beat == before else 0
        others.pop(self._replica, None)
        self._others = others
        if tick:
            self._counted_at = now

    def _renewal(self, run_id: str) -> Command:
        keys = self._store.keys
        return RENEW((*keys.log(run_id), keys.watchers(run_id)), self._replica, self._store.live_ttl)

    async def _end_runs_of(self, replica: str) -> None:
        keys, link = self._store.keys, self._store.link
        (owned,) = await link.keep_each(("SMEMBERS", keys.owned(replica)))
        ended = 0
        for run_id in () if isinstance(owned, CorruptLog) else owned:
            try:
                ended += await self._end(replica, run_id.decode(), _WORKER_LOST)
            except SequenceConflict:  # it has written: it lives
                return
            await link.keep(("SREM", keys.owned(replica), run_id))
        await link.keep(("HDEL", keys.replicas, replica), ("DEL", keys.control(replica)))
        log(_logger, logging.WARNING, "replica lost", replica=replica, runs_ended=ended)

    async def _end(self, owner: str, run_id: str, error: dict[str, Any]) -> bool:
        """End a run in the name of its owner; tell whether it was done here."""
        try:
            run = await self._store.get(run_id)
            if run.finished:
                return False
            ended, entry = _failed(run, error)
            watchers = await self._store.append(owner, ended, [entry])
            await self._store.tell(watchers, run_id)
        except (RunNotFound, RunClosed, Foreign, CorruptLog):
            return False
        self._over[run_id] = records.index_entry(run)
        log(_logger, logging.WARNING, "run failed", run_id=run_id, code=error["code"], reason=error["error"])
        return True


def _failed(run: Run, error: dict[str, Any]) -> tuple[Run, Entry]:
    now = datetime.now(UTC)
    sequence = run.last_sequence + 1
    data = events.encode("error", run.run_id, sequence, now, error)
    ended = msgspec.structs.replace(
        run, status="failed", completed_at=now, error=error, last_sequence=sequence
    )
    return ended, Entry(sequence, "error", data, now.timestamp())
