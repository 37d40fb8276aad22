"""Taking runs from the work queue that all replicas share, whenever this process has a free slot."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from dockrion.backends.work_queue import TakenRun, WorkQueue
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import BackendError, ServiceUnavailable
from dockrion.runs.in_flight import InFlightRuns, Slot, Slots

_MAX_TAKEN = 32  # at once; their jobs are in memory together
_RETRY_SECONDS = 0.5


class QueueTaker:
    """Fills the free slots of this process with runs from the queue. Must be made on the event loop.

    Args:
        queue: The queue.
        slots: The slots of this process.
        in_flight: The runs of this process.
        accepts: Returns whether this process takes runs at the moment.
        begin: Starts a run that was taken, in its slot.
    """

    def __init__(
        self,
        queue: WorkQueue,
        slots: Slots,
        in_flight: InFlightRuns,
        accepts: Callable[[], bool],
        begin: Callable[[TakenRun, Slot], None],
    ) -> None:
        self._queue = queue
        self._slots = slots
        self._in_flight = in_flight
        self._accepts = accepts
        self._begin = begin
        self._settled = asyncio.Event()
        self._settled.set()
        slots.on_freed = queue.slot_freed
        self._tasks = BackgroundTasks()
        self._tasks.start(self._take_all())

    async def aclose(self, timeout: float) -> None:  # noqa: ASYNC109  a bound, not a deadline
        """Take no more runs; what is being taken arrives before that.

        Args:
            timeout: The longest wait, in seconds.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._tasks.cancel_until_done()

    async def _take_all(self) -> None:
        """Take runs without end, at each arrival until a batch is not full or no slot is free."""
        async for _ in self._queue.arrivals():
            try:
                while await self._take_batch() and self._slots.free:
                    pass
            except (ServiceUnavailable, BackendError):
                await asyncio.sleep(_RETRY_SECONDS)

    async def wait_for_slot(self) -> bool:
        """Return whether there is a free slot, once those are given back for which there was no run."""
        await self._settled.wait()
        return self._slots.free > 0

    async def _take_batch(self) -> bool:
        """Take a batch; return whether there may be more runs, of which this process is not told."""
        slots = self._slots.reserve_free(_MAX_TAKEN) if self._accepts() else []
        if not slots:
            await self._queue.decline()
            return False
        taken: list[TakenRun] = []
        self._settled.clear()
        try:
            taken = await self._queue.take(len(slots), self._is_in_flight)
            for each in taken:
                self._begin(each, slots.pop())
        finally:
            self._settled.set()
            for slot in slots:
                self._slots.release(slot)
        return not slots

    def _is_in_flight(self, run_id: str) -> bool:
        return self._in_flight.get(run_id) is not None
