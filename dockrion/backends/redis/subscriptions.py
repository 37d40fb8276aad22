"""Who in this process watches which run, and what they read together."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

from dockrion.backends.pages import PAGE_BYTES, Page, Watch
from dockrion.backends.redis.client import end
from dockrion.backends.redis.keys import WATCH, Command
from dockrion.backends.redis.store import Store
from dockrion.errors import BackendError, RunNotFound, ServiceUnavailable, TooManySubscribers

T = TypeVar("T")
_NO_LIMIT = -1
_NO_READERS = -1
_CHUNK = 100
_HISTORY_PAGES = 64


class _Watched:
    """One run: those who watch it here, and the reads that they share."""

    def __init__(self) -> None:
        self.watches: set[Watch] = set()
        self.counted: set[Watch] = set()
        self.waiting: set[Watch] = set()  # to be counted
        self.armed = False
        self.told: int | None = None  # what Redis was told last
        self.untold = False
        self.arming = asyncio.Lock()  # Redis is told numbers, which must arrive in order
        self.reads: dict[tuple[int, int], asyncio.Task[Page]] = {}
        self.newest: tuple[int, Page] | None = None

    @property
    def readers(self) -> int:
        """What Redis is to know: how many are counted, or that nobody watches."""
        return len(self.counted) if self.watches else _NO_READERS

    def at_hand(self, after: int) -> Page | None:
        """Return what is known to follow a position."""
        return self.newest[1] if self.newest is not None and self.newest[0] == after else None

    def wake(self, page: Page | None = None) -> None:
        """Wake all who watch; the page is what is new, if it is known."""
        self.reads.clear()
        self.newest = None
        if page is not None and sum(len(entry.data) for entry in page.entries) <= PAGE_BYTES:
            self.newest = page.entries[0].sequence - 1, page
        for watch in self.watches:
            watch.wake()


class Watching:
    """Wakes readers, and reads once for all that want the same.

    Args:
        store: Where the runs are.
        replica: Who is to be told of new events.
    """

    def __init__(self, store: Store, replica: str) -> None:
        self._store = store
        self._replica = replica
        self._watched: dict[str, _Watched] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._history: OrderedDict[tuple[str, int, int], Page] = OrderedDict()

    @asynccontextmanager
    async def watch(self, run_id: str, limit: int | None) -> AsyncIterator[Watch]:
        """Arm a watch; see `Backend.watch`."""
        watched = self._watched.setdefault(run_id, _Watched())
        watch = Watch(watched.at_hand)
        watched.watches.add(watch)
        try:
            await self._in_the_end(self._arm(run_id, watched, watch, limit))
            yield watch
        finally:
            watch.close()
            for those in (watched.watches, watched.counted, watched.waiting):
                those.discard(watch)
            if limit is not None or not watched.watches:
                await self._in_the_end(self._disarm(run_id, watched))

    async def read(self, run_id: str, after: int, limit: int) -> Page:
        """Read, together with all who read the same at this moment."""
        watched = self._watched.get(run_id)
        if watched is None:
            return await self._store.read(run_id, after, limit)
        page = watched.at_hand(after)
        if page is not None and len(page.entries) <= limit:
            return page
        if (known := self._history.get((run_id, after, limit))) is not None:
            return known
        asked = after, limit
        task = watched.reads.get(asked)
        if task is None:
            task = watched.reads[asked] = self._task(self._read(run_id, after, limit))
            task.add_done_callback(lambda done: watched.reads.get(asked) is done and watched.reads.pop(asked))
        return await asyncio.shield(task)

    def wake(self, run_id: str, page: Page | None = None) -> None:
        """Wake those who watch a run.

        Args:
            run_id: The run.
            page: What is new, if it is known here.
        """
        if (watched := self._watched.get(run_id)) is not None:
            watched.wake(page)

    def wake_all(self) -> None:
        """Let everybody look again."""
        for watched in self._watched.values():
            watched.wake()

    async def renew(self) -> None:
        """Tell Redis again what is watched here, and what no more.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        every = list(self._watched.items())
        for start in range(0, len(every), _CHUNK):
            chunk = every[start : start + _CHUNK]
            async with AsyncExitStack() as arming:
                for _, watched in chunk:
                    await arming.enter_async_context(watched.arming)
                numbers = [watched.readers for _, watched in chunk]
                await self._store.link.keep_each(
                    *(
                        self._command(run_id, readers)
                        for (run_id, _), readers in zip(chunk, numbers, strict=True)
                    )
                )
                for (run_id, watched), readers in zip(chunk, numbers, strict=True):
                    watched.told = readers
                    self._told(run_id, watched)

    async def aclose(self) -> None:
        """End what is under way."""
        await end(self._tasks)

    async def _read(self, run_id: str, after: int, limit: int) -> Page:
        page = await self._store.read(run_id, after, limit)
        if page.entries and (page.more or page.closed):  # it will never be another
            self._history[run_id, after, limit] = page
            if len(self._history) > _HISTORY_PAGES:
                self._history.popitem(last=False)
        return page

    async def _arm(self, run_id: str, watched: _Watched, watch: Watch, limit: int | None) -> None:
        """Have Redis know of a watch; those that wait at the same time are told together."""
        if limit is not None:
            watched.waiting.add(watch)
        async with watched.arming:
            if limit is None:
                if not watched.armed:
                    await self._tell(run_id, watched, set(), None)
            elif watch in watched.waiting:
                new = set(watched.waiting)
                watched.waiting.discard(watch)
                if await self._tell(run_id, watched, new, limit):
                    return
                if new == {watch} or not await self._tell(run_id, watched, {watch}, limit):
                    raise TooManySubscribers(
                        f"run {run_id!r} has {limit} subscribers, the most allowed; try again later"
                    )

    async def _tell(self, run_id: str, watched: _Watched, new: set[Watch], limit: int | None) -> bool:
        """Tell Redis how many readers there are with some new ones; return whether that many may be.

        Raises:
            RunNotFound: No such run.
        """
        readers = len(watched.counted) + len(new)
        watched.untold = True  # until it is known what was stored
        reply = await self._store.ask(run_id, self._command(run_id, readers, limit))
        if reply[0] == b"full" and (dead := await self._dead(reply[1:])):
            reply = await self._store.ask(run_id, self._command(run_id, readers, limit, *dead))
        watched.untold = False
        if reply[0] == b"missing":
            raise RunNotFound(run_id)
        if reply[0] == b"full":
            return False
        watched.armed, watched.told = True, readers
        watched.waiting -= new
        watched.counted |= new & watched.watches  # some may have left meanwhile
        return True

    async def _disarm(self, run_id: str, watched: _Watched) -> None:
        async with watched.arming:
            if not (watched.armed or watched.untold) or (
                not watched.untold and watched.told == watched.readers
            ):
                self._told(run_id, watched)
                return
            watched.untold = True
            watched.armed = bool(watched.watches) and watched.armed
            with suppress(ServiceUnavailable, BackendError):  # the keeper tells it later
                readers = watched.readers
                await self._store.link.send(self._command(run_id, readers))
                watched.told = readers
                self._told(run_id, watched)

    def _told(self, run_id: str, watched: _Watched) -> None:
        """Note that Redis knows the numbers, and forget a run that nobody watches."""
        watched.untold = False
        if not watched.watches and self._watched.get(run_id) is watched:
            del self._watched[run_id]

    def _command(self, run_id: str, readers: int, limit: int | None = None, *dead: bytes) -> Command:
        keys = self._store.keys
        most = _NO_LIMIT if limit is None else limit
        where = keys.run(run_id), keys.watchers(run_id)
        return WATCH(where, self._replica, readers, most, self._store.live_ttl, *dead)

    async def _dead(self, replicas: list[bytes]) -> list[bytes]:
        """Return which of some replicas are not alive, so that their readers do not count."""
        if not replicas:
            return []
        (beats,) = await self._store.link.send(("HMGET", self._store.keys.replicas, *replicas))
        return [replica for replica, beat in zip(replicas, beats, strict=True) if beat is None]

    async def _in_the_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for something that goes on though whoever waits may leave.

        A cancelled command would cost its connection.
        """
        await asyncio.shield(self._task(work))

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited may have left
