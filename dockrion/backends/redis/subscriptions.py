"""Subscriptions: one per watched run, shared by all its readers in this process.

A subscription is a field of this replica in the run's hash of watchers. It holds the number of readers
that count towards the limit, which makes the limit hold over all replicas. While it exists, every
append to the run sends a message to this replica's inbox, and the readers are woken.

The field is set to numbers rather than incremented, because a command may be executed although
its reply is lost. Numbers have to arrive in order, hence a lock per run; readers who come or leave
while a command is in flight are covered by the next one.

What is known of the field follows from the result of each command (`_TRANSITIONS`). After a lost
reply the number is sent again when the next reader comes or leaves, and at the latest by
`Subscriptions.renew`, which the background work calls.

Readers also share what they read: the page appended last in this process, without a round trip; reads
in flight; and pages of history, which do not change.
"""

import asyncio
import enum
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

from dockrion.backends.fanout import Watch
from dockrion.backends.pages import PAGE_BYTES, Page
from dockrion.backends.redis.keys import WATCH, Command
from dockrion.backends.redis.store import Store
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import RunNotFound, ServiceUnavailable, TooManySubscribers

T = TypeVar("T")
_NO_LIMIT = -1
_REMOVE = -1
_CHUNK = 100
_HISTORY_PAGES = 64


class Registration(enum.Enum):
    """What this process knows of its field in a run's hash of watchers."""

    ABSENT = enum.auto()
    STORED = enum.auto()  # with the number `_Subscription.stored`
    UNCERTAIN = enum.auto()  # absent, or stored with a number whose command had no reply


class CommandResult(enum.Enum):
    """What a command that sets or removes the field has done."""

    STORED = enum.auto()
    REMOVED = enum.auto()
    REFUSED = enum.auto()  # the run is missing, or has too many readers: nothing was written
    LOST = enum.auto()  # no reply


_TRANSITIONS: dict[CommandResult, Registration | None] = {  # the state after a command
    CommandResult.STORED: Registration.STORED,
    CommandResult.REMOVED: Registration.ABSENT,
    CommandResult.REFUSED: None,  # unchanged
    CommandResult.LOST: Registration.UNCERTAIN,
}


class _Subscription:
    """The readers of one run in this process, and the pages that they share."""

    def __init__(self) -> None:
        self.watches: set[Watch] = set()
        self.counted: set[Watch] = set()
        self.joining: set[Watch] = set()  # to be counted by the next command
        self.registration = Registration.ABSENT
        self.stored = 0
        self.updating = asyncio.Lock()
        self.reads: dict[tuple[int, int], asyncio.Task[Page]] = {}
        self.newest: tuple[int, Page] | None = None

    @property
    def readers(self) -> int:
        """The number that Redis should have."""
        return len(self.counted) if self.watches else _REMOVE

    @property
    def dirty(self) -> bool:
        """Whether Redis may have another number than `readers`."""
        match self.registration:
            case Registration.ABSENT:
                return False  # readers register before they are counted
            case Registration.STORED:
                return self.stored != self.readers
        return True

    def settle(self, readers: int, result: CommandResult) -> None:
        """Record the result of a command that sent a number."""
        self.registration = _TRANSITIONS[result] or self.registration
        if result is CommandResult.STORED:
            self.stored = readers

    def peek(self, after: int) -> Page | None:
        """Return the page after a position, if it is in memory."""
        return self.newest[1] if self.newest is not None and self.newest[0] == after else None

    def wake(self, page: Page | None = None) -> None:
        """Wake all readers; the page is what was appended, if that is known."""
        self.reads.clear()
        self.newest = None
        if page is not None and page.size <= PAGE_BYTES:
            self.newest = page.entries[0].sequence - 1, page
        for watch in self.watches:
            watch.wake()


class Subscriptions:
    """Registers the readers in this process, wakes them, and shares their reads.

    Args:
        store: What Redis holds.
        replica: This replica.
    """

    def __init__(self, store: Store, replica: str) -> None:
        self._store = store
        self._replica = replica
        self._subscriptions: dict[str, _Subscription] = {}
        self._tasks = BackgroundTasks()
        self._history: OrderedDict[tuple[str, int, int], Page] = OrderedDict()

    @asynccontextmanager
    async def watch(self, run_id: str, limit: int | None) -> AsyncIterator[Watch]:
        """Arm a watch; see `RunLog.watch`."""
        subscription = self._subscriptions.setdefault(run_id, _Subscription())
        watch = Watch(subscription.peek)
        subscription.watches.add(watch)
        try:
            await self._complete(self._join(run_id, subscription, watch, limit))
            yield watch
        finally:
            watch.close()
            for group in (subscription.watches, subscription.counted, subscription.joining):
                group.discard(watch)
            if limit is not None or not subscription.watches:
                await self._complete(self._leave(run_id, subscription))

    async def read(self, run_id: str, after: int, limit: int) -> Page:
        """Return the events that follow a position; see `RunLog.read`."""
        subscription = self._subscriptions.get(run_id)
        if subscription is None:
            return await self._store.read(run_id, after, limit)
        page = subscription.peek(after)
        if page is not None and len(page.entries) <= limit:
            return page
        if (past := self._history.get((run_id, after, limit))) is not None:
            return past
        position = after, limit
        reads = subscription.reads
        task = reads.get(position)
        if task is None:
            task = reads[position] = self._start(self._read(run_id, after, limit))
            task.add_done_callback(lambda done: reads.get(position) is done and reads.pop(position))
        return await asyncio.shield(task)

    def wake(self, run_id: str, page: Page | None = None) -> None:
        """Wake the readers of a run; the page is what was appended, if that is known."""
        if (subscription := self._subscriptions.get(run_id)) is not None:
            subscription.wake(page)

    def wake_all(self) -> None:
        """Wake all readers, since messages may have been lost."""
        for subscription in self._subscriptions.values():
            subscription.wake()

    async def renew(self) -> None:
        """Send the number of readers of every run again.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        every = list(self._subscriptions.items())
        for start in range(0, len(every), _CHUNK):
            chunk = every[start : start + _CHUNK]
            async with AsyncExitStack() as updating:
                for _, subscription in chunk:
                    await updating.enter_async_context(subscription.updating)
                await self._renew(chunk)

    async def aclose(self) -> None:
        """Cancel the commands under way."""
        await self._tasks.cancel_until_done()

    async def _read(self, run_id: str, after: int, limit: int) -> Page:
        page = await self._store.read(run_id, after, limit)
        unchanging = page.entries and (page.more or page.closed)  # later appends do not change it
        if unchanging and page.size <= PAGE_BYTES:
            self._history[run_id, after, limit] = page
            if len(self._history) > _HISTORY_PAGES:
                self._history.popitem(last=False)
        return page

    async def _renew(self, chunk: list[tuple[str, _Subscription]]) -> None:
        numbers = [subscription.readers for _, subscription in chunk]
        results = [CommandResult.LOST] * len(chunk)
        try:
            commands = (self._command(run_id, n, None) for (run_id, _), n in zip(chunk, numbers, strict=True))
            replies = await self._store.client.send_background_each(*commands)
            results = [_result(reply, n) for reply, n in zip(replies, numbers, strict=True)]
        finally:
            for (_, subscription), n, result in zip(chunk, numbers, results, strict=True):
                subscription.settle(n, result)
        for run_id, subscription in chunk:
            self._forget_unwatched(run_id, subscription)

    async def _join(self, run_id: str, subscription: _Subscription, watch: Watch, limit: int | None) -> None:
        """Register a reader, and with it all who joined while the lock was held."""
        if limit is not None:
            subscription.joining.add(watch)
        async with subscription.updating:
            if limit is None:
                if subscription.registration is not Registration.STORED:
                    await self._register(run_id, subscription, set(), None)
            elif watch in subscription.joining:
                new = set(subscription.joining)
                subscription.joining.discard(watch)
                if await self._register(run_id, subscription, new, limit):
                    return
                if new == {watch} or not await self._register(run_id, subscription, {watch}, limit):
                    raise TooManySubscribers(
                        f"run {run_id!r} has {limit} subscribers, the most allowed; try again later"
                    )

    async def _register(
        self, run_id: str, subscription: _Subscription, new: set[Watch], limit: int | None
    ) -> bool:
        """Send the number of readers with some new ones; return whether the limit allows it.

        Raises:
            RunNotFound: No such run.
        """
        reply = await self._send(run_id, subscription, len(subscription.counted) + len(new), limit)
        if reply == b"missing":
            raise RunNotFound(run_id)
        if reply != b"ok":
            return False
        subscription.joining -= new
        subscription.counted |= new & subscription.watches  # some may have left meanwhile
        return True

    async def _leave(self, run_id: str, subscription: _Subscription) -> None:
        """Send the number of readers after some have left, if it has changed."""
        async with subscription.updating:
            if subscription.dirty:
                with suppress(ServiceUnavailable, RunNotFound):  # `renew` sends it later
                    await self._send(run_id, subscription, subscription.readers, None)
            if subscription.registration is not Registration.UNCERTAIN:
                self._forget_unwatched(run_id, subscription)

    async def _send(self, run_id: str, subscription: _Subscription, readers: int, limit: int | None) -> bytes:
        """Set the field, not counting the readers of dead replicas, and return the script's verdict."""
        result = CommandResult.LOST
        try:
            reply = await self._store.query(run_id, self._command(run_id, readers, limit))
            if reply[0] == b"full" and (dead := await self._dead(reply[1:])):
                reply = await self._store.query(run_id, self._command(run_id, readers, limit, *dead))
            result = _result(reply, readers)
        finally:
            subscription.settle(readers, result)
        return bytes(reply[0])

    def _forget_unwatched(self, run_id: str, subscription: _Subscription) -> None:
        if not subscription.watches and self._subscriptions.get(run_id) is subscription:
            del self._subscriptions[run_id]

    def _command(self, run_id: str, readers: int, limit: int | None, *dead: bytes) -> Command:
        keys = self._store.keys.run(run_id), self._store.keys.watchers(run_id)
        most = _NO_LIMIT if limit is None else limit
        return WATCH(keys, self._replica, readers, most, self._store.live_ttl, *dead)

    async def _dead(self, replicas: list[bytes]) -> list[bytes]:
        """Return those replicas that are dead, so that their readers do not count."""
        if not replicas:
            return []
        (beats,) = await self._store.client.send(("HMGET", self._store.keys.replicas, *replicas))
        return [replica for replica, beat in zip(replicas, beats, strict=True) if beat is None]

    async def _complete(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for commands; if the reader is cancelled they continue: cancelling costs a connection."""
        await asyncio.shield(self._start(work))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task whose waiters may all be cancelled; its exception is retrieved in any case."""
        task = self._tasks.start(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task


def _result(reply: Any, readers: int) -> CommandResult:
    """Return what the script `watch` did: it replies `ok`, or why it wrote nothing."""
    if isinstance(reply, Exception) or reply[0] != b"ok":
        return CommandResult.REFUSED
    return CommandResult.REMOVED if readers == _REMOVE else CommandResult.STORED
