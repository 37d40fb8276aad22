"""Appending to the logs of this replica's runs, and telling the replicas that watch them."""

from collections.abc import Sequence

from dockrion.backends.pages import Page
from dockrion.backends.redis.client import TransferFailed
from dockrion.backends.redis.health import Refusals
from dockrion.backends.redis.leases import LeaseKeeper
from dockrion.backends.redis.store import Store
from dockrion.backends.redis.subscriptions import Subscriptions
from dockrion.backends.run_log import Run
from dockrion.errors import AppendRefused, BackendError, RunNotFound
from dockrion.events import Entry


class Appender:
    """Appends events to logs.

    Args:
        store: What Redis holds.
        replica: This replica.
        leases: The runs that it owns.
        subscriptions: Its readers.
        refusals: Tells an event that is too large from a Redis that is away.
    """

    def __init__(
        self,
        store: Store,
        replica: str,
        leases: LeaseKeeper,
        subscriptions: Subscriptions,
        refusals: Refusals,
    ) -> None:
        self._store = store
        self._replica = replica
        self._leases = leases
        self._subscriptions = subscriptions
        self._refusals = refusals

    async def append(self, run: Run, entries: Sequence[Entry], *, after_gap: bool = False) -> None:
        """Append as `RunLog.append` does, and notify the replicas that watch the run.

        Those that watched it at the last append are notified in the same round trip as this one.
        """
        owned = self._leases.get(run)
        notified = owned.watchers if owned is not None and entries else set()
        drops_job = owned is not None and owned.has_job and (run.finished or not owned.keeps_job)
        try:
            watching = await self._store.append(
                self._replica, run, entries, notify=notified, after_gap=after_gap, drops_job=drops_job
            )
        except TransferFailed:
            if self._refusals.failed(run.run_id):
                self._refusals.clear(run.run_id)
                size = max((len(entry.data) for entry in entries), default=0)
                raise AppendRefused(f"an event of {size} bytes is too large for the storage") from None
            raise
        except (BackendError, RunNotFound):
            self._refusals.clear(run.run_id)
            raise
        self._refusals.clear(run.run_id)
        watchers = set(watching) - {self._replica}
        if entries:
            await self._store.notify(watchers - notified, run.run_id)
        if owned is not None:
            owned.watchers = watchers
            owned.last_sequence = run.last_sequence
            owned.has_job &= not drops_job
        if run.finished:
            self._leases.release(run)
        if entries:
            self._subscriptions.deliver(run, Page(entries, closed=run.finished))

    async def force_close(self, run: Run, last: Entry) -> None:
        """Close a log as `RunLog.force_close` does."""
        try:
            await self.append(run, [last], after_gap=True)
        except AppendRefused:
            self._leases.abandon(run)
            raise
        except BackendError:  # this replica does not own the run any more
            self._leases.release(run)
            raise
