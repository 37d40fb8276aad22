"""Commands on what Redis stores: runs, messages, counters, the secret. Most methods are one round trip.

Combines keys, scripts and encodings, and holds no state: what this process remembers of runs is in
`leases` and `subscriptions`.
"""

import secrets
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
    CLAIM,
    COUNT,
    CREATE,
    GET,
    HOLD,
    QUEUE,
    READ,
    REGISTER,
    SECRET,
    Command,
    Keys,
)
from dockrion.backends.run_log import Run
from dockrion.backends.shared_state import SECRET_BYTES, WindowCount
from dockrion.backends.summaries import encode_record
from dockrion.errors import (
    CorruptLog,
    RunClosed,
    RunExists,
    RunNotFound,
    SequenceConflict,
    ServiceUnavailable,
)
from dockrion.events import Entry

if TYPE_CHECKING:
    from dockrion.backends.redis.outbox import RedisOutbox

_INBOX_MESSAGES = 10_000
_REQUEST_TTL = 60
_SECRET_TTL = 86_400
_PING_TTL = 60


class NotOwner(SequenceConflict):
    """Another replica owns the run, or another run has the id."""


class Store:
    """Reads and writes runs, messages and what the replicas share.

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
        self._max_events = max_events
        self._max_bytes = max_bytes

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
        record, unlisted = encode_record(run), int(run.unlisted)
        return CREATE(keys, owner, run.incarnation, record, entry, ttl, body, unlisted, job or b"")

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
            int(run.finished),
            int(after_gap),
            whole,
            body,
            int(drops_job),
            self._max_bytes,
            packed,
            *(copies.arguments if copies else ()),
        )
        first = [self._registration(owner, run)] if after_gap else []
        listing = [copies.listing] if copies else []
        size = len(packed) + len(body) + len(output) + len(whole)
        commands = [*first, *listing, append, *listing]
        messages = self._messages(notify, "run", run_id)
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

    async def incarnation(self, run_id: str) -> str:
        """Return the incarnation of the run that has an id.

        Raises:
            RunNotFound: No such run.
        """
        return (await self._owner(run_id))[1]

    async def owner(self, run_id: str) -> str:
        """Return the replica that owns a run.

        Raises:
            RunNotFound: No such run.
        """
        return (await self._owner(run_id))[0]

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
            await self.client.send(*self._messages(replicas, "run", run_id), ordered=0)

    async def notify_of_work(self, replica: str) -> None:
        """Notify a replica that a run waits for it."""
        await self.client.send(*self._messages([replica], "work", ""))

    async def request_cancel(self, run_id: str, reason: str | None, incarnation: str | None) -> bool:
        """Store a request to cancel in the run, and send it to the owner; return whether there is one."""
        encoded = records.encode_reason(reason)
        command = CANCEL((self.keys.run(run_id),), _expected(incarnation), encoded)
        owner, current = await self.query(run_id, command)
        if owner == QUEUE.encode():
            return False
        fields = "run", run_id, "incarnation", current, "cancel", encoded
        await self.client.send(*self._messages([owner.decode()], *fields))
        return True

    async def cancel_requested(self, run_id: str) -> bool:
        """Return whether a request to cancel is stored in a run."""
        return bool(await self.query(run_id, ("HEXISTS", self.keys.run(run_id), "cancel")))

    async def send_request(
        self, run_id: str, number: str, body: bytes, sender: str, incarnation: str | None
    ) -> None:
        """Store the body of a request, and send its number to the run's owner.

        Raises:
            RunNotFound: No such run.
        """
        owner, current = await self._owner(run_id)
        if incarnation not in (None, current):
            raise RunNotFound(run_id)
        if owner == QUEUE:
            raise ServiceUnavailable("the run waits for a slot; try again later")
        size = len(body)
        request = "question", number, "from", sender, "size", str(size)
        await self.send_sized(
            size,
            ("SET", self.keys.request(run_id, number), body, "EX", _REQUEST_TTL),
            *self._messages([owner], "run", run_id, "incarnation", current, *request),
        )

    async def pop_request(self, run_id: str, number: str, size: int) -> bytes:
        """Return a request's body, which has about that size, and delete it.

        Raises:
            RunNotFound: It is not there.
        """
        return bytes(await self.query(run_id, ("GETDEL", self.keys.request(run_id, number)), size=size))

    async def send_reply(self, sender: str, number: str, reply: bytes) -> None:
        """Send the reply to a request to the replica that sent the request."""
        await self.client.send(*self._messages([sender], "answer", number, "text", reply))

    async def count(self, name: str, window: int) -> WindowCount:
        """Count one occurrence; see `SharedState.count`."""
        ((count, milliseconds),) = await self.client.send(COUNT((self.keys.counter(name, window),), window))
        return WindowCount(count, milliseconds / 1000)

    async def hold(self, name: str, holder: str, seconds: int) -> bool:
        """Hold or release a name; see `SharedState.hold`."""
        (done,) = await self.client.send(HOLD((self.keys.holder(name),), holder, seconds))
        return bool(done)

    async def claim(self, name: str, value: bytes, seconds: int, replacing: bytes | None) -> bytes:
        """Claim a name; see `SharedState.claim`."""
        (stored,) = await self.client.send(CLAIM((self.keys.claim(name),), value, seconds, replacing or b""))
        return bytes(stored)

    async def secret(self) -> bytes:
        """Return the secret of the service; see `SharedState.secret`."""
        offered = secrets.token_bytes(SECRET_BYTES)
        (stored,) = await self.client.send(SECRET((self.keys.secret,), offered, _SECRET_TTL))
        return bytes(stored)

    async def ping(self) -> None:
        """Write a key: Redis has to accept writes."""
        await self.client.send(("SET", self.keys.ping, 1, "EX", _PING_TTL))

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

    async def _owner(self, run_id: str) -> tuple[str, str]:
        """Return the replica that owns a run, and the run's incarnation.

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

    def _messages(self, replicas: Collection[str], *fields: str | bytes) -> list[Command]:
        """Return commands that add a message to inboxes; the inbox of a dead replica is not created."""
        return [
            ("XADD", self.keys.inbox(each), "NOMKSTREAM", "MAXLEN", "~", _INBOX_MESSAGES, "*", *fields)
            for each in replicas
        ]


def _expected(incarnation: str | None) -> str:
    return ANY_INCARNATION if incarnation is None else incarnation
