"""Whether a service accepts work, and the state of each thing that it needs for that."""

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from math import nan
from typing import TYPE_CHECKING, TypeVar

import msgspec

from dockrion.backends.work_queue import QueueState
from dockrion.dependency import Dependency
from dockrion.errors import ServiceUnavailable
from dockrion.openapi.models import DependencyReport

if TYPE_CHECKING:
    from dockrion.web.service import Service

_REPORT_SECONDS = 5.0  # for each of what is asked, all at once
_WEBHOOK_SECONDS = 60.0  # more than the first attempts take
_CLOSED = "what the agent opened at start is closed; restart the service"
T = TypeVar("T")


class Readiness:
    """Watches what a service needs.

    Args:
        service: The service.
    """

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._process = Dependency("up")
        self._agent = Dependency("loading")
        self._agent_process = Dependency("unused")
        self._lifespan = Dependency("loading")
        self._queue = Dependency("up")
        self._webhooks = Dependency("up")

    def loaded(self) -> None:
        """Note that the agent is loaded."""
        self._agent.enter("up")
        self._lifespan.enter("up")

    def not_loaded(self) -> None:
        """Note that the agent cannot be loaded."""
        self._agent.enter("failed", self._service.runs.unavailable)

    def draining(self) -> None:
        """Note that the service is shutting down."""
        self._process.enter("draining")

    async def check(self, *, accepting: bool = False) -> None:
        """Check that new work can be accepted.

        Args:
            accepting: Check, too, that a run would not have to wait for a slot of this process.

        Raises:
            ServiceUnavailable: It cannot; the message gives the reason.
        """
        service = self._service
        service.runs.ready_agent()
        if service.lifespan_broken:
            self._lifespan.enter("failed", _CLOSED)
            raise ServiceUnavailable(_CLOSED)
        await service.backend.ping()
        if service.role != "api":  # whose workers need the agent process, which may be beside them only
            await self._check_agent_process()
            if accepting and not service.runs.slots.free:
                raise ServiceUnavailable("every slot is taken")

    async def report(self) -> dict[str, DependencyReport]:
        """Return the state of each dependency, by name, within some seconds."""
        service = self._service
        latency, queue, _ = await asyncio.gather(
            _within_limit(self._backend_latency()),
            _within_limit(self._queue_state()),
            _within_limit(self._check_agent_process()),
        )
        if service.lifespan_broken:
            self._lifespan.enter("failed", _CLOSED)
        reports = {
            "process": _report(self._process),
            "agent": _report(self._agent),
            "lifespan": _report(self._lifespan),
            "backend": _report(service.backend.dependency, latency_seconds=latency),
            "queue": self._report_queue(queue),
        }
        if self._agent_process.state != "unused":
            reports["agent_process"] = _report(self._agent_process)
        if service.webhooks is not None:
            waiting, oldest = service.webhooks.waiting
            late = "a receiver is away or refuses them" if oldest > _WEBHOOK_SECONDS else None
            self._webhooks.enter("degraded" if late else "up", late)
            reports["webhooks"] = _report(self._webhooks, waiting=waiting, oldest_seconds=oldest)
        if (issuer := service.access.issuer) is not None:
            reports["token_issuer"] = _report(issuer)
        return reports

    async def show_queue(self) -> None:
        """Update the metrics of the queue."""
        shown = self._service.metrics.queue
        try:
            state = await self._queue_state()
        except ServiceUnavailable:
            shown.show(nan, nan, nan)
        else:
            shown.show(state.length, state.oldest_seconds, state.payload_bytes)

    async def _backend_latency(self) -> float:
        began = time.perf_counter()
        await self._service.backend.ping()
        return time.perf_counter() - began

    async def _queue_state(self) -> QueueState:
        queue, slots = self._service.backend.queue, self._service.runs.slots
        if queue is None:
            return QueueState(slots.waiting, slots.oldest_seconds, 0)
        return await queue.queue_state()

    async def _check_agent_process(self) -> None:
        """Check a separate agent process, if this process needs one.

        Raises:
            ServiceUnavailable: It cannot accept work.
        """
        service = self._service
        agent = service.runs.agent
        if agent is None or service.role == "api" or service.dockfile.agent.mode != "url":
            return
        try:
            await agent.check()
        except ServiceUnavailable as error:
            self._agent_process.enter("away", error.message)
            raise
        self._agent_process.enter("up")

    def _report_queue(self, state: QueueState | None) -> DependencyReport:
        if state is None:
            self._queue.enter("away")
            return _report(self._queue)
        is_full = state.length >= self._service.dockfile.streaming.max_queued_runs > 0
        self._queue.enter("full" if is_full else "up", "new runs get 429" if is_full else None)
        return _report(self._queue, waiting=state.length, oldest_seconds=state.oldest_seconds)


async def _within_limit(work: Awaitable[T]) -> T | None:
    """Return the result of some work; None if it fails or takes too long."""
    try:
        async with asyncio.timeout(_REPORT_SECONDS):
            return await work
    except (ServiceUnavailable, TimeoutError):
        return None


def _report(
    dependency: Dependency,
    *,
    latency_seconds: float | None = None,
    waiting: int | None = None,
    oldest_seconds: float | None = None,
) -> DependencyReport:
    """Return the state of a dependency as callers see it; what is not known is absent."""
    unset = msgspec.UNSET
    return DependencyReport(
        state=dependency.state,
        since=datetime.fromtimestamp(dependency.since, UTC),
        reason=dependency.reason or unset,
        latency_seconds=unset if latency_seconds is None else round(latency_seconds, 6),
        waiting=unset if waiting is None else waiting,
        oldest_seconds=unset if oldest_seconds is None else round(oldest_seconds, 3),
    )
