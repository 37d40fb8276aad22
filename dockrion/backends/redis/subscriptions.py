"""Subscriptions: one per watched run, shared by all its readers in this process.

A subscription is a field of this replica in the run's hash of watchers. It holds the number of readers
that count towards the limit, which makes the limit hold over all replicas. While it exists, every
append to the run sends a message to this replica's inbox, and the readers are woken.

Numbers have to arrive in order, so there is a lock per run; readers who come or leave while a command is in
flight are covered by the next one. After a lost reply the number is sent again when the next reader
comes or leaves, and at the latest by `Subscriptions.renew`, which the background work calls.

A subscription belongs to one incarnation of a run, which each command names. When another run has the
id, Redis refuses the command; the subscription is retired, so that its readers find their run gone, and
a new one is made for those who come.

Readers also share what they read: the page appended last in this process, without a round trip; reads
in flight; and pages of history, which do not change. All of these are of the subscription's incarnation.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

from dockrion.backends.fanout import Watch
from dockrion.backends.pages import Page
from dockrion.backends.redis.keys import ANY_INCARNATION, WATCH, Command
from dockrion.backends.redis.store import Store
from dockrion.backends.redis.subscription import REMOVE, CommandResult, History, Registration, Subscription
from dockrion.backends.run_log import Run
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import RunNotFound, ServiceUnavailable, TooManySubscribers

T = TypeVar("T")
_NO_LIMIT = -1
_CHUNK = 100


class _Replaced(Exception):
    """The subscription is not the current run's, and is retired."""


class Subscriptions:
    """Registers the readers in this process, wakes them, and shares their reads.

    Args:
        store: What Redis holds.
        replica: This replica.

    Attributes:
        history: Pages that readers share.
    """

    def __init__(self, store: Store, replica: str) -> None:
        self._store = store
        self._replica = replica
        self._subscriptions: dict[str, Subscription] = {}
        self._tasks = BackgroundTasks()
        self.history = History()

    @asynccontextmanager
    async def watch(self, run_id: str, incarnation: str | None, limit: int | None) -> AsyncIterator[Watch]:
        """Arm a watch; see `RunLog.watch`."""
        while True:
            subscription = await self._subscription(run_id, incarnation)
            watch = Watch(subscription.peek)
            subscription.watches.add(watch)
            try:
                await self._complete(self._join(run_id, subscription, watch, incarnation, limit))
                watch.incarnation = subscription.incarnation or ""
                yield watch
            except _Replaced:
                if incarnation == subscription.incarnation:
                    raise RunNotFound(run_id) from None
            else:
                return
            finally:
                watch.close()
                for group in (subscription.watches, subscription.counted, subscription.joining):
                    group.discard(watch)
                if limit is not None or not subscription.watches:
                    await self._complete(self._leave(run_id, subscription))

    async def read(self, run_id: str, after: int, limit: int, incarnation: str | None) -> Page:
        """Return the events that follow a position; see `RunLog.read`."""
        subscription = self._subscriptions.get(run_id)
        if subscription is None or incarnation is None or incarnation != subscription.incarnation:
            return await self._store.read(run_id, after, limit, incarnation)
        page = subscription.peek(after)
        if page is not None and len(page.entries) <= limit:
            return page
        if (past := self.history.get(run_id, incarnation, after, limit)) is not None:
            return past
        position = after, limit
        reads = subscription.reads
        task = reads.get(position)
        if task is None:
            task = reads[position] = self._start(self._read(run_id, incarnation, after, limit))
            task.add_done_callback(lambda done: reads.get(position) is done and reads.pop(position))
        return await asyncio.shield(task)

    def wake(self, run_id: str) -> None:
        """Wake the readers of a run, whichever has the id."""
        if (subscription := self._subscriptions.get(run_id)) is not None:
            subscription.wake()

    def deliver(self, run: Run, page: Page) -> None:
        """Wake the readers of a run with what was appended."""
        subscription = self._subscriptions.get(run.run_id)
        if subscription is not None and subscription.incarnation in (None, run.incarnation):
            subscription.wake(page if subscription.incarnation else None)
        elif subscription is not None:
            self._retire(run.run_id, subscription)

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

    async def _read(self, run_id: str, incarnation: str, after: int, limit: int) -> Page:
        page = await self._store.read(run_id, after, limit, incarnation)
        self.history.add(run_id, incarnation, after, limit, page)
        return page

    async def _subscription(self, run_id: str, incarnation: str | None) -> Subscription:
        """Return the subscription to a run, a new one if there is none.

        Raises:
            RunNotFound: Another run has the id.
        """
        found = self._subscriptions.get(run_id)
        if found is not None and found.incarnation not in (None, incarnation) and incarnation is not None:
            if (await self._store.owner(run_id))[1] != incarnation:
                raise RunNotFound(run_id)
            self._retire(run_id, found)
        return self._subscriptions.setdefault(run_id, Subscription(incarnation))

    async def _renew(self, chunk: list[tuple[str, Subscription]]) -> None:
        numbers = [subscription.readers for _, subscription in chunk]
        results = [CommandResult.LOST] * len(chunk)
        try:
            commands = (self._command(*each, n, None) for each, n in zip(chunk, numbers, strict=True))
            replies = await self._store.client.send_background_each(*commands)
            results = [_result(reply, n) for reply, n in zip(replies, numbers, strict=True)]
        finally:
            for (_, subscription), n, result in zip(chunk, numbers, results, strict=True):
                subscription.settle(n, result)
        for (run_id, subscription), n, reply in zip(chunk, numbers, replies, strict=True):
            if _is_replaced(reply):
                self._retire(run_id, subscription)
            if n == REMOVE:  # readers who have left meanwhile wait for the lock to remove the field
                self._forget_unwatched(run_id, subscription)

    async def _join(
        self,
        run_id: str,
        subscription: Subscription,
        watch: Watch,
        incarnation: str | None,
        limit: int | None,
    ) -> None:
        """Register a reader, and with it all who joined while the lock was held.

        Raises:
            _Replaced: The subscription is another run's; the reader has to join again.
        """
        if limit is not None:
            subscription.joining.add(watch)
        async with subscription.updating:
            if subscription.incarnation is None:
                subscription.incarnation = incarnation
            current = self._subscriptions.get(run_id) is subscription
            if not current or incarnation not in (None, subscription.incarnation):
                raise _Replaced
            if limit is None:
                if incarnation is None or subscription.registration is not Registration.STORED:
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
        self, run_id: str, subscription: Subscription, new: set[Watch], limit: int | None
    ) -> bool:
        """Send the number of readers with some new ones; return whether the limit allows it.

        Raises:
            RunNotFound: No such run.
            _Replaced: Another run has the id.
        """
        verdict, *rest = await self._send(run_id, subscription, len(subscription.counted) + len(new), limit)
        if verdict == b"missing":
            raise RunNotFound(run_id)
        if verdict == b"replaced":
            raise _Replaced
        if verdict != b"ok":
            return False
        subscription.incarnation = rest[0].decode(errors="replace")
        subscription.joining -= new
        subscription.counted |= new & subscription.watches  # some may have left meanwhile
        return True

    async def _leave(self, run_id: str, subscription: Subscription) -> None:
        """Send the number of readers after some have left, if it has changed."""
        async with subscription.updating:
            if subscription.dirty:
                with suppress(ServiceUnavailable, RunNotFound):  # `renew` sends it later
                    await self._send(run_id, subscription, subscription.readers, None)
            if subscription.registration is not Registration.UNCERTAIN:
                self._forget_unwatched(run_id, subscription)

    async def _send(
        self, run_id: str, subscription: Subscription, readers: int, limit: int | None
    ) -> list[bytes]:
        """Set the field, not counting the readers of dead replicas, and return the script's reply."""
        result = CommandResult.LOST
        try:
            reply: list[bytes] = await self._store.query(
                run_id, self._command(run_id, subscription, readers, limit)
            )
            if reply[0] == b"full" and (dead := await self._dead(reply[1:])):
                command = self._command(run_id, subscription, readers, limit, *dead)
                reply = await self._store.query(run_id, command)
            result = _result(reply, readers)
        finally:
            subscription.settle(readers, result)
        if _is_replaced(reply):
            self._retire(run_id, subscription)
        return reply

    def _retire(self, run_id: str, subscription: Subscription) -> None:
        if self._subscriptions.get(run_id) is subscription:
            del self._subscriptions[run_id]
        subscription.retire()

    def _forget_unwatched(self, run_id: str, subscription: Subscription) -> None:
        if not subscription.watches and self._subscriptions.get(run_id) is subscription:
            del self._subscriptions[run_id]

    def _command(
        self, run_id: str, subscription: Subscription, readers: int, limit: int | None, *dead: bytes
    ) -> Command:
        keys = self._store.keys.run(run_id), self._store.keys.watchers(run_id)
        expected = ANY_INCARNATION if subscription.incarnation is None else subscription.incarnation
        most = _NO_LIMIT if limit is None else limit
        return WATCH(keys, self._replica, expected, readers, most, self._store.live_ttl, *dead)

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
    return CommandResult.REMOVED if readers == REMOVE else CommandResult.STORED


def _is_replaced(reply: Any) -> bool:
    return not isinstance(reply, Exception) and reply[0] == b"replaced"
