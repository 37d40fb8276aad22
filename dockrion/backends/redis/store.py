"""What Redis holds: each method is one round trip."""

from collections.abc import Collection, Sequence
from typing import Any

from dockrion.backends.pages import PAGE_BYTES, Page
from dockrion.backends.redis import records
from dockrion.backends.redis.client import Link
from dockrion.backends.redis.index import Index
from dockrion.backends.redis.keys import APPEND, CANCEL, CREATE, READ, Command, Keys
from dockrion.backends.run_log import Run
from dockrion.errors import CorruptLog, RunClosed, RunExists, RunNotFound, SequenceConflict
from dockrion.events import Entry

_CONTROL_NOTES = 10_000


class Foreign(SequenceConflict):
    """The run is another replica's."""


class Store:
    """Reads and writes runs.

    Args:
        link: The connections.
        keys: The names.
        index: Which runs there are.
        max_events: How many events of a run are kept, the newest.
        ttl: Seconds a finished run is kept.
        live_ttl: Seconds an unfinished run is kept when nobody renews it.
    """

    def __init__(
        self, link: Link, keys: Keys, index: Index, *, max_events: int, ttl: int, live_ttl: int
    ) -> None:
        self.link = link
        self.keys = keys
        self._index = index
        self.ttl = ttl
        self.live_ttl = live_ttl
        self._max_events = max_events

    async def create(self, owner: str, run: Run) -> None:
        """Store a new run, listed and known to be its owner's.

        Raises:
            RunExists: The id is taken.
        """
        entry = records.index_entry(run)
        create = CREATE(self.keys.log(run.run_id), owner, records.encode_run(run), entry, self.live_ttl)
        _, created = await self.link.send(self._index.registration(owner, run), create)
        if not created:
            raise RunExists(run.run_id)

    async def append(
        self,
        owner: str,
        run: Run,
        entries: Sequence[Entry],
        *,
        tell: Collection[str] = (),
        after_gap: bool = False,
    ) -> list[str]:
        """Add a batch and replace the record.

        Args:
            owner: Whose run it is.
            run: The record after the batch.
            entries: The batch.
            tell: Replicas that are told at once.
            after_gap: Accept a log that has lost events, or is gone.

        Returns:
            All the replicas that watch the run.

        Raises:
            RunNotFound: No such run.
            RunClosed: The log has its terminal event.
            SequenceConflict: The batch does not continue the log, or the run is another's.
        """
        keys, run_id = self.keys, run.run_id
        append = APPEND(
            (*keys.log(run_id), keys.watchers(run_id)),
            owner,
            records.index_entry(run),
            entries[0].sequence,
            self._max_events,
            self.ttl if run.finished else self.live_ttl,
            records.encode_run(run),
            b"" if run.output is None else bytes(run.output),
            int(run.finished),
            int(after_gap),
            records.encode_entries(entries),
        )
        first = [self._index.registration(owner, run)] if after_gap else []
        replies = await self.link.send(*first, append, *self._notes(tell, "run", run_id))
        reply = replies[len(first)]
        match reply[0]:
            case b"ok":
                return [replica.decode() for replica in reply[1:]]
            case b"missing":
                raise RunNotFound(run_id)
            case b"closed":
                raise RunClosed(run_id)
            case b"foreign":
                raise Foreign(run_id)
            case _:
                raise SequenceConflict(run_id)

    async def tell(self, replicas: Collection[str], run_id: str) -> None:
        """Wake replicas that watch a run."""
        if replicas:
            await self.link.send(*self._notes(replicas, "run", run_id))

    async def get(self, run_id: str) -> Run:
        """Return a run's record.

        Raises:
            RunNotFound: No such run.
        """
        command = ("HMGET", self.keys.run(run_id), "record", "output")
        record, output = await self.ask(run_id, command)
        if record is None:
            raise RunNotFound(run_id)
        return records.decode_run(record, output)

    async def read(self, run_id: str, after: int, limit: int) -> Page:
        """Return the events that follow a position.

        Raises:
            RunNotFound: No such run.
        """
        reply = await self.ask(run_id, READ(self.keys.log(run_id), after, limit, PAGE_BYTES))
        try:
            page = records.decode_page(reply)
        except (ValueError, TypeError) as error:
            raise CorruptLog(run_id) from error
        if page.closed and not page.entries and after < int(reply[0]):  # somebody deleted them
            raise RunNotFound(run_id)
        return page

    async def request_cancel(self, run_id: str, reason: str | None) -> None:
        """Leave a request where the owner finds it, and tell the owner.

        Raises:
            RunNotFound: No such run.
        """
        encoded = records.encode_reason(reason)
        owner = await self.ask(run_id, CANCEL((self.keys.run(run_id),), encoded))
        await self.link.send(*self._notes([owner.decode()], "run", run_id, "cancel", encoded))

    async def leave_question(self, run_id: str, question: bytes, ttl: int, number: str, asker: str) -> None:
        """Leave a question where the run's owner finds it, and tell the owner.

        Raises:
            RunNotFound: No such run.
        """
        owner = await self.ask(run_id, ("HGET", self.keys.run(run_id), "owner"))
        if owner is None:
            raise RunNotFound(run_id)
        await self.link.send(
            ("SET", self.keys.question(run_id, number), question, "EX", ttl),
            *self._notes([owner.decode()], "run", run_id, "question", number, "from", asker),
        )

    async def take_question(self, run_id: str, number: str) -> bytes:
        """Return a question, which is gone then.

        Raises:
            RunNotFound: It is not there.
        """
        question = await self.ask(run_id, ("GETDEL", self.keys.question(run_id, number)))
        if question is None:
            raise RunNotFound(run_id)
        return bytes(question)

    async def answer(self, asker: str, number: str, answer: bytes) -> None:
        """Send the answer to a question to the replica that asked."""
        await self.link.send(*self._notes([asker], "answer", number, "text", answer))

    async def ping(self) -> None:
        """Write something."""
        await self.link.send(("SET", self.keys.ping, 1, "EX", 60))

    async def ask(self, run_id: str, command: Command) -> Any:
        """Return the reply to a question about a run.

        Raises:
            RunNotFound: There is no such run, or what is there is none.
        """
        try:
            (reply,) = await self.link.send(command)
        except CorruptLog:
            reply = None
        if reply is None:
            raise RunNotFound(run_id)
        return reply

    def _notes(self, replicas: Collection[str], *fields: str | bytes) -> list[Command]:
        """Return commands that leave a note for replicas; for those that are gone, nothing."""
        return [
            ("XADD", self.keys.control(each), "NOMKSTREAM", "MAXLEN", "~", _CONTROL_NOTES, "*", *fields)
            for each in replicas
        ]
