"""Locks by name, which the runs of all replicas of a service share."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from dockrion.backends.shared_state import SharedState
from dockrion.backoff import Backoff
from dockrion.errors import ServiceUnavailable
from dockrion.logs import log

HOLD_SECONDS = 30  # a replica that died holds its locks for so long
_RENEW_SECONDS = HOLD_SECONDS / 3
_FIRST_DELAY, _LONGEST_DELAY = 0.02, 0.5  # seconds between attempts, while another replica has the lock
_logger = logging.getLogger(__name__)


class _Queue(msgspec.Struct, eq=False):
    """The runs of this process that have a lock or wait for it.

    Attributes:
        turn: Held by the first of them; the others get it in order.
        runs: How many there are.
    """

    turn: asyncio.Lock
    runs: int = 0


class NamedLocks:
    """Gives each name to one run at a time.

    Args:
        shared: The state that all replicas share.
    """

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """Wait for a name and keep it to the end of the block.

        Runs of one process get it in the order in which they came. If the storage is away for longer than
        `HOLD_SECONDS`, a run of another replica may get it before the end.
        """
        queue = self._queues.setdefault(name, _Queue(asyncio.Lock()))
        queue.runs += 1
        try:
            async with queue.turn, self._held_by_replica(name):
                yield
        finally:
            queue.runs -= 1
            if not queue.runs:
                del self._queues[name]

    @asynccontextmanager
    async def _held_by_replica(self, name: str) -> AsyncIterator[None]:
        holder, backoff = os.urandom(16).hex(), Backoff(_FIRST_DELAY, _LONGEST_DELAY, jitter=0.5)
        try:
            while not await self._hold(name, holder, HOLD_SECONDS):  # noqa: ASYNC110  no event spans replicas
                await asyncio.sleep(backoff.next())
            renewal = asyncio.create_task(self._renew(name, holder))
            try:
                yield
            finally:
                renewal.cancel()
        finally:
            await self._hold(name, holder, 0)

    async def _renew(self, name: str, holder: str) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            if not await self._hold(name, holder, HOLD_SECONDS):
                log(_logger, logging.WARNING, "a lock could not be renewed", lock=name)

    async def _hold(self, name: str, holder: str, seconds: int) -> bool:
        with suppress(ServiceUnavailable):
            return await self._shared.hold(name, holder, seconds)
        return False
