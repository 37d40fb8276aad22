"""Commands on the runs that Redis stores, and messages about them. Most methods are one round trip.

Combines keys, scripts and encodings, and holds no state: what this process remembers of runs is in
`leases` and `subscriptions`.
"""

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from dockrion.backends.pages import PAGE_BYTES, Page
from dockrion.backends.redis import records
from dockrion.backends.redis.client import LARGE_BYTES, RedisClient
from dockrion.backends.redis.keys import (
    ANY_INCARNATION,
    APPEND,
    CANCEL,
    CREATE,
    GET,
    QUEUE,
    READ,
    REGISTER,
    Command,
    Keys,
)
from dockrion.backends.run_log import Run
from dockrion.backends.summaries import encode_record
from dockrion.errors import (
    CorruptLog,
    RunClosed,
    RunExists,
    RunNotFound,
    SequenceConflict,
)
from dockrion.events import Entry

if TYPE_CHECKING:
    from dockrion.backends.redis.outbox import RedisOutbox

_INBOX_MESSAGES = 10_000


class NotOwner(SequenceConflict):
    """Another replica owns the run, or another run has the id."""


class Store:
    """Reads and writes runs, and sends messages about them.

    Args:
        client: The connections.
        keys: The names.
        max_events: How many of a run's newest events are stored.
        max_bytes: How many bytes of them, if there is more than one.
        ttl: Seconds a finished run is kept.
        live_ttl: Seconds an unfinished run is kept when nobody renews it.
        outbox: Gets copies of events, None if there are none to copy.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        *,
        max_events: int,
        max_bytes: int,
        ttl: int,
        live_ttl: int,
        outbox: "RedisOutbox | None" = None,
    ) -> None:
        self.client = client
        self.keys = keys
        self.ttl = ttl
        self.live_ttl = live_ttl
        self.outbox = outbox
        self._max_events = b"%d" % max_events  # encoded here, since redis-py is slow at numbers
        self._max_bytes = b"%d" % max_bytes

    def indexes(self, run: Run) -> tuple[str, ...]:
        """Return the sorted sets that list a run."""
        return () if run.unlisted else self.keys.indexes(run.owner)

    async def create(self, owner: str, run: Run, job: bytes | None) -> None:
        """List a new run, add it to those of its owner, and store it; see `RunLog.create`."""
        body = records.encode_raw(run.input)
        create = self.creation(owner, run, body, job, self.live_ttl)
        size = len(body) + len(job or b"")
        _, created = await self.send_sized(size, self._registration(owner, run), create)
        if not created:
            raise RunExists(run.run_id)

    def creation(self, owner: str, run: Run, body: bytes, job: bytes | None, ttl: int) -> Command:
        """Return the command that stores a new run, and replies 0 if another run has the id."""
        keys, entry = (*self.keys.log(run.run_id), self.keys.watchers(run.run_id)), records.index_entry(run)
        record, beside = encode_record(run), (job or b"", int(run.unlisted))
        optional = beside if job or run.unlisted else ()
        return CREATE(keys, owner, run.incarnation, record, entry, ttl, body, *optional)

    async def append(
        self,
        owner: str,
        run: Run,
        entries: Sequence[Entry],
        *,
        notify: Collection[str] = (),
        after_gap: bool = False,
        drops_job: bool = False,
    ) -> list[str]:
        """Append a batch and replace the record; see `RunLog.append` and `RunLog.force_close`.

        Args:
            owner: The replica that owns the run.
            run: The record after the batch.
            entries: The batch.
            notify: Replicas that are notified in the same round trip.
            after_gap: Accept a log that has lost events, or is gone.
            drops_job: Delete the run's job, which nobody needs any more.

        Returns:
            All replicas that watch the run.
        """
        keys, run_id = self.keys, run.run_id
        body, output = records.encode_raw(run.input), records.encode_raw(run.output)
        record, whole = records.encode_run(run)
        packed = records.encode_entries(entries)
        copies = None if self.outbox is None else self.outbox.copies(run, entries)
        append = APPEND(
            (*keys.log(run_id), keys.watchers(run_id), *(copies.keys if copies else ())),
            owner,
            run.incarnation,
            records.index_entry(run),
            entries[0].sequence if entries else run.last_sequence + 1,
            self._max_events,
            (run.kept_seconds or self.ttl) if run.finished else self.live_ttl,
            record,
            output,
            b"%d%d%d" % (run.finished, after_gap, drops_job),
            whole,
            body,
            self._max_bytes,
            packed,
            *(copies.arguments if copies else ()),
        )
        first = [self._registration(owner, run)] if after_gap else []
        listing = [copies.listing] if copies else []
        size = len(packed) + len(body) + len(output) + len(whole)
        commands = [*first, *listing, append, *listing]
        messages = self.messages(notify, "run", run_id)
        replies = await self.send_sized(size, *commands, *messages, ordered=len(commands))
        position = len(first) + len(listing)
        reply = replies[position]
        match reply[0]:
            case b"ok":
                if self.outbox is not None and copies:
                    self.outbox.on_appended(copies, replies[position - 1], replies[position + 1])
                return [replica.decode() for replica in reply[1:]]
            case b"missing":
                raise RunNotFound(run_id)
            case b"closed":
                raise RunClosed(run_id)
            case b"foreign":
                raise NotOwner(run_id)
            case _:
                raise SequenceConflict(run_id)

    async def get(self, run_id: str) -> Run:
        """Return a run's record; see `RunLog.get`."""
        key, fields = self.keys.run(run_id), ("record", "output", "incarnation", "whole")
        reply = await self.query(run_id, GET((key,), LARGE_BYTES))
        if isinstance(reply, int):
            reply = await self.query(run_id, ("HMGET", key, *fields), size=reply)
        record, output, incarnation, whole = reply
        if record is None:  # it has expired meanwhile
            raise RunNotFound(run_id)
        return records.decode_whole(record, whole, output, incarnation)

    async def get_input(self, run_id: str, incarnation: str | None) -> bytes | None:
        """Return a run's input; see `RunLog.get_input`."""
        key = self.keys.run(run_id)
        size = await self.query(run_id, ("HSTRLEN", key, "input"))
        current, body = await self.query(run_id, ("HMGET", key, "incarnation", "input"), size=size)
        if current is None or incarnation not in (None, current.decode()):
            raise RunNotFound(run_id)
        return None if body is None else bytes(body)

    async def read(self, run_id: str, after: int, limit: int, incarnation: str | None = None) -> Page:
        """Return the events that follow a position; see `RunLog.read`."""
        log, expected = self.keys.log(run_id), _expected(incarnation)
        reply = await self.query(run_id, READ(log, expected, after, limit, PAGE_BYTES))
        while isinstance(reply, int):  # the next event alone is larger
            reply = await self.query(run_id, READ(log, expected, after, 1, reply), size=reply)
        try:
            page = records.decode_page(reply)
        except (ValueError, TypeError) as error:
            raise CorruptLog(run_id) from error
        if page.closed and not page.entries and after < int(reply[0]):  # the stream was deleted
            raise RunNotFound(run_id)
        return page

    async def notify(self, replicas: Collection[str], run_id: str) -> None:
        """Notify replicas that a run they watch has new events."""
        if replicas:
            await self.client.send(*self.messages(replicas, "run", run_id), ordered=0)

    async def notify_of_work(self, replica: str) -> None:
        """Notify a replica that a run waits for it."""
        await self.client.send(*self.messages([replica], "work", ""))

    async def request_cancel(self, run_id: str, reason: str | None, incarnation: str | None) -> bool:
        """Store a request to cancel in the run, and send it to the owner; return whether there is one."""
        encoded = records.encode_reason(reason)
        command = CANCEL((self.keys.run(run_id),), _expected(incarnation), encoded)
        owner, current = await self.query(run_id, command)
        if owner == QUEUE.encode():
            return False
        fields = "run", run_id, "incarnation", current, "cancel", encoded
        await self.client.send(*self.messages([owner.decode()], *fields))
        return True

    async def requested_cancel(self, run_id: str) -> bytes | None:
        """Return the reason of a request to cancel that is stored in a run, encoded; None without one."""
        (reason,) = await self.query(run_id, ("HMGET", self.keys.run(run_id), "cancel"))
        return None if reason is None else bytes(reason)

    async def query(self, run_id: str, command: Command, *, size: int = 0) -> Any:
        """Return the reply to a command about one run.

        Args:
            run_id: The run.
            command: The command.
            size: How many bytes it carries, or its reply does, as far as is known.

        Raises:
            RunNotFound: The reply is nil, or what is stored under the run's keys is not a run.
        """
        try:
            (reply,) = await self.send_sized(size, command)
        except CorruptLog:
            reply = None
        if reply is None:
            raise RunNotFound(run_id)
        return reply

    async def send_sized(self, size: int, *commands: Command, ordered: int | None = None) -> list[Any]:
        """Send commands that carry so many bytes, or whose replies do; see `RedisClient.send`."""
        if size > LARGE_BYTES:
            return await self.client.send_large(*commands, size=size, ordered=ordered)
        return await self.client.send(*commands, ordered=ordered)

    async def owner(self, run_id: str) -> tuple[str, str]:
        """Return the replica that owns a run, or `QUEUE`, and the run's incarnation.

        Raises:
            RunNotFound: No such run.
        """
        command = "HMGET", self.keys.run(run_id), "owner", "incarnation"
        owner, incarnation = await self.query(run_id, command)
        if owner is None:
            raise RunNotFound(run_id)
        return owner.decode(), (incarnation or b"").decode(errors="replace")

    def _registration(self, owner: str, run: Run) -> Command:
        """Return the command that lists a run and adds it to those of its owner."""
        keys = self.keys
        return REGISTER(
            (keys.replicas, keys.owned(owner), keys.expiry, *self.indexes(run)),
            owner,
            run.run_id,
            records.index_entry(run),
            time.time() + self.live_ttl,
            self.live_ttl,
        )

    def messages(self, replicas: Collection[str], *fields: str | bytes) -> list[Command]:
        """Return commands that add a message to inboxes; the inbox of a dead replica is not created."""
        return [
            ("XADD", self.keys.inbox(each), "NOMKSTREAM", "MAXLEN", "~", _INBOX_MESSAGES, "*", *fields)
            for each in replicas
        ]


def _expected(incarnation: str | None) -> str:
    return ANY_INCARNATION if incarnation is None else incarnation
