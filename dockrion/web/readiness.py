"""Whether a service accepts work, and the state of each thing that it needs for that."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import nan
from typing import TYPE_CHECKING

import msgspec

from dockrion.backends.work_queue import QueueState
from dockrion.dependency import Dependency
from dockrion.errors import ServiceUnavailable
from dockrion.openapi.models import DependencyReport
from dockrion.runs.agent import Agent

if TYPE_CHECKING:
    from dockrion.web.service import Service

_REPORT_SECONDS = 5.0
_WEBHOOK_SECONDS = 60.0  # more than the first attempts take
_CLOSED = "what the agent opened at start is closed; restart the service"


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
        agent = service.runs.ready_agent()
        if service.lifespan_broken:
            self._lifespan.enter("failed", _CLOSED)
            raise ServiceUnavailable(_CLOSED)
        await service.backend.ping()
        if service.role != "api":  # whose workers need the agent process, which may be beside them only
            await self._check_agent_process(agent)
            if accepting and not service.runs.slots.free:
                raise ServiceUnavailable("every slot is taken")

    async def report(self) -> dict[str, DependencyReport]:
        """Return the state of each dependency, by name, within some seconds."""
        service = self._service
        latency, queue = None, None
        try:
            async with asyncio.timeout(_REPORT_SECONDS):
                latency, queue, _ = await asyncio.gather(
                    self._backend_latency(), self._queue_state(), self._note_agent_process()
                )
        except TimeoutError:
            self._queue.enter("away")
        if service.lifespan_broken:
            self._lifespan.enter("failed", _CLOSED)
        reports = {
            "process": _report(self._process),
            "agent": _report(self._agent),
            "lifespan": _report(self._lifespan),
            "backend": _report(service.backend.dependency, latency_seconds=latency),
        }
        if self._agent_process.state != "unused":
            reports["agent_process"] = _report(self._agent_process)
        reports["queue"] = (
            _report(self._queue)
            if queue is None
            else _report(self._queue, waiting=queue.length, oldest_seconds=queue.oldest_seconds)
        )
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
        state = await self._queue_state()
        shown = self._service.metrics.queue
        if state is None:
            shown.show(nan, nan, nan)
        else:
            shown.show(state.length, state.oldest_seconds, state.payload_bytes)

    async def _backend_latency(self) -> float | None:
        """Return how long the backend takes to respond, None if it does not."""
        began = time.perf_counter()
        try:
            await self._service.backend.ping()
        except ServiceUnavailable:
            return None
        return time.perf_counter() - began

    async def _queue_state(self) -> QueueState | None:
        service = self._service
        if service.backend.queue is None:
            slots = service.runs.slots
            state = QueueState(slots.waiting, slots.oldest_seconds, 0)
        else:
            try:
                state = await service.backend.queue.queue_state()
            except ServiceUnavailable:
                self._queue.enter("away")
                return None
        is_full = state.length >= service.dockfile.streaming.max_queued_runs > 0
        self._queue.enter("full" if is_full else "up", "new runs get 429" if is_full else None)
        return state

    async def _check_agent_process(self, agent: Agent) -> None:
        """Check a separate agent process, if there is one.

        Raises:
            ServiceUnavailable: It cannot accept work.
        """
        try:
            await agent.check()
        except ServiceUnavailable as error:
            self._agent_process.enter("away", error.message)
            raise
        if self._service.dockfile.agent.mode == "url":
            self._agent_process.enter("up")

    async def _note_agent_process(self) -> None:
        service = self._service
        if service.role != "api" and (agent := service.runs.agent) is not None:
            with suppress(ServiceUnavailable):
                await self._check_agent_process(agent)


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
