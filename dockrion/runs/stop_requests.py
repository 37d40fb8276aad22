"""Stopping runs of this process for reasons from outside of it."""

from dockrion.backends import Backend
from dockrion.background_tasks import BackgroundTasks
from dockrion.runs.in_flight import InFlightRuns
from dockrion.runs.outcome import Stop
from dockrion.runs.recorder import RunRecorder


class StopRequests:
    """Stops runs that callers of other replicas cancel, and those that this replica no longer owns.

    Must be made on the event loop.

    Args:
        in_flight: The runs of this process.
        backend: Passes on the requests.
        recorder: Masks secrets in reasons.
    """

    def __init__(self, in_flight: InFlightRuns, backend: Backend, recorder: RunRecorder) -> None:
        self._in_flight = in_flight
        self._backend = backend
        self._recorder = recorder
        self._tasks = BackgroundTasks()
        self._tasks.start(self._listen_for_cancels())
        self._tasks.start(self._listen_for_losses())

    async def aclose(self, seconds: float) -> None:
        """Stop listening, in bounded time."""
        await self._tasks.cancel(seconds)

    async def _listen_for_losses(self) -> None:
        async for run in self._backend.lost_runs():
            self._in_flight.stop(run, Stop("lost"))

    async def _listen_for_cancels(self) -> None:
        async for request in self._backend.cancel_requests():
            stop = Stop("cancelled", self._recorder.masked_reason(request.reason))
            self._in_flight.stop(request, stop)
