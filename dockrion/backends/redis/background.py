"""The background work of a replica: heartbeat, renewals, reaping, pruning.

It is one loop, which runs every `BEAT_SECONDS`, and immediately after a command has failed, to find out
whether Redis still responds. When Redis has recovered, or may have been restarted, messages and events may
have been lost, so the loop renews all subscriptions, drops cached pages and wakes all readers, which then
read their logs.
"""

import asyncio
import logging
import time
from contextlib import suppress

from dockrion.backends.redis.client import RETRY_SECONDS, RedisClient
from dockrion.backends.redis.declarations import Declarations
from dockrion.backends.redis.health import Health, unavailable
from dockrion.backends.redis.index import Index
from dockrion.backends.redis.leases import BEAT_SECONDS, Heartbeat, LeaseKeeper
from dockrion.backends.redis.queue import RedisQueue
from dockrion.backends.redis.reaper import Reaper
from dockrion.backends.redis.subscriptions import Subscriptions
from dockrion.errors import CorruptLog
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
_RENEW_SUBSCRIPTIONS_SECONDS = 30.0


class BackgroundWork:
    """Does the background work.

    Args:
        client: The connections.
        index: The list of runs, which is pruned.
        leases: The runs of this replica.
        reaper: Ends runs that nobody else will end.
        subscriptions: The readers of this process.
        queue: Gets told when runs wait.
        declarations: Compares replicas, None to compare none.

    Attributes:
        first_round_over: Set once a round is over, successful or not.
    """

    def __init__(
        self,
        client: RedisClient,
        index: Index,
        leases: LeaseKeeper,
        reaper: Reaper,
        subscriptions: Subscriptions,
        queue: RedisQueue,
        declarations: Declarations | None,
    ) -> None:
        self._client = client
        self._index = index
        self._leases = leases
        self._reaper = reaper
        self._subscriptions = subscriptions
        self._queue = queue
        self._declarations = declarations
        self._renew_subscriptions_at = time.monotonic() + _RENEW_SUBSCRIPTIONS_SECONDS
        self._has_inbox = False
        self.first_round_over = asyncio.Event()

    async def ensure_inbox(self) -> None:
        """Create this replica's inbox, without which others can send it neither requests nor replies.

        The first heartbeat creates it, and is sent early where the inbox is needed earlier.

        Raises:
            ServiceUnavailable: Redis does not respond, or accepts no writes.
        """
        if self._has_inbox:
            return
        try:
            if (await self._beat()).inbox_created:
                self._subscriptions.wake_all()
        except CorruptLog as error:
            raise unavailable() from error

    async def _beat(self) -> Heartbeat:
        heartbeat = await self._leases.beat()
        self._has_inbox = True
        self._reaper.observe(heartbeat.counters)
        return heartbeat

    async def run(self) -> None:
        """Do rounds of background work without end."""
        health = self._client.health
        while True:
            try:
                await self.work_once()
                self.first_round_over.set()
            except Exception as error:  # heartbeats must go on in any case
                health.round_failed(error)
                self.first_round_over.set()
                if health.state is Health.UNREACHABLE:
                    self._client.abort_transfers()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await health.failure_seen.wait()
            health.failure_seen.clear()

    async def work_once(self) -> None:
        """Do one round.

        Raises:
            ServiceUnavailable: Redis does not respond, or accepts no writes.
        """
        await self._client.check_servers()
        heartbeat = await self._beat()
        was_healthy = self._client.health.written()
        reconnected = self._client.reconnected()
        if heartbeat.set_back and not heartbeat.inbox_created:  # else this replica was declared dead
            log(_logger, logging.WARNING, "redis was set back to an earlier state")
        restarted = heartbeat.inbox_created or heartbeat.set_back or reconnected or not was_healthy
        if restarted:
            self._subscriptions.history.clear()
        renewing = restarted or time.monotonic() >= self._renew_subscriptions_at
        if self._declarations is not None:
            if renewing:
                await self._declarations.declare()
            await self._declarations.compare(heartbeat.counters)
        if renewing:
            await self._subscriptions.renew()
            self._subscriptions.wake_all()
            self._renew_subscriptions_at = time.monotonic() + _RENEW_SUBSCRIPTIONS_SECONDS
        await self._leases.renew()
        await self._reaper.reap(heartbeat, restarted=restarted)
        if heartbeat.waiting:
            self._queue.wake()
        await self._reaper.end_overdue(await self._index.prune())
        self._client.health.round_completed()
