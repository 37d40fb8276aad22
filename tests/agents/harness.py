"""Runs of one agent in this process, without HTTP; each is checked against the streaming guarantees."""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from dockrion import ids
from dockrion.agents.handler import HandlerAgent
from dockrion.backends import Backend
from dockrion.backends.follow import follow
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.pages import IDLE
from dockrion.backends.run_log import Run
from dockrion.caller import NO_REQUEST, CallerRequest
from dockrion.events import TERMINAL, EventFilter
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs.agent import Agent, Call
from dockrion.runs.context import StreamContext
from dockrion.runs.manager import RunManager
from dockrion.runs.settings import RunSettings
from dockrion.runs.tool_policy import ToolPolicy
from tests.support import TIMEOUT_SECONDS, wait_until

COMMON = ("id", "type", "run_id", "sequence", "timestamp")


@dataclass(frozen=True)
class Ended:
    """A finished run: its record and all its events."""

    run: Run
    events: list[dict[str, Any]]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def own(self) -> list[dict[str, Any]]:
        """The type and the own fields of each event that the agent emitted."""
        return [
            {name: value for name, value in event.items() if name == "type" or name not in COMMON}
            for event in self.events
            if event["type"] not in {"started", *TERMINAL}
        ]

    @property
    def tokens(self) -> list[str]:
        return [event["content"] for event in self.events if event["type"] == "token"]

    @property
    def terminal(self) -> dict[str, Any]:
        return self.events[-1]

    @property
    def output(self) -> Any:
        assert self.run.status == "completed", self.terminal
        assert self.run.output is not None
        return msgspec.json.decode(self.run.output)

    @property
    def error(self) -> str:
        assert self.run.status == "failed", self.terminal
        assert self.run.error is not None
        assert self.run.error["error"] == self.terminal["error"]
        assert self.run.error["code"] == self.terminal["code"]
        return str(self.run.error["error"])

    @property
    def code(self) -> str:
        assert self.error
        return str(self.terminal["code"])


@dataclass
class Bench:
    """A run manager with its backend and its metrics."""

    runs: RunManager
    backend: Backend
    metrics: Metrics

    async def start(
        self, payload: Any = None, run_id: str | None = None, request: CallerRequest = NO_REQUEST
    ) -> str:
        return (await self.runs.start(Call(payload, request=request), run_id or ids.uuid7())).run_id

    async def run(self, payload: Any = None) -> Ended:
        """Start a run and read it to its end."""
        return await self.ended(await self.start(payload))

    async def ended(self, run_id: str) -> Ended:
        """Read a run to its end."""
        events = await read(self.backend, run_id)
        run = await self.backend.get(run_id)
        check_promises(run, events)
        return Ended(run, events)

    async def invoke(self, payload: Any = None, limit: float | None = TIMEOUT_SECONDS) -> Any:
        done, _ = await self.runs.invoke(Call(payload), ids.uuid7(), limit)
        return msgspec.json.decode(done.output)

    async def status(self, run_id: str) -> str:
        return (await self.backend.get(run_id)).status

    async def emitted(self, run_id: str, count: int) -> None:
        """Wait until a run has this many events."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (await self.backend.get(run_id)).last_sequence < count:
                await asyncio.sleep(0.002)

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a counter."""
        return self.metrics._registry.get_sample_value(name, {"agent": "tested", **labels}) or 0.0

    @property
    def free_slots(self) -> int:
        return self.runs._in_flight._slots._free


async def read(backend: Backend, run_id: str) -> list[dict[str, Any]]:
    """Return a run's events, decoded, waiting for its end."""
    events: list[dict[str, Any]] = []
    async with (
        asyncio.timeout(3 * TIMEOUT_SECONDS),
        follow(backend, run_id, 0, idle=TIMEOUT_SECONDS) as pages,
    ):
        async for page in pages:
            assert page is not IDLE, f"silent after {[event['type'] for event in events][-5:]}"
            events += [msgspec.json.decode(entry.data) for entry in page.entries]
    return events


def check_promises(run: Run, events: list[dict[str, Any]]) -> None:
    """Assert what holds for every finished run: gapless sequences, one terminal event, matching ids."""
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["id"] for event in events] == [f"{run.run_id}:{n + 1}" for n in range(len(events))]
    assert [n for n, event in enumerate(events) if event["type"] in TERMINAL] == [len(events) - 1]
    assert run.last_sequence == len(events)
    ends = {"complete": "completed", "error": "failed", "cancelled": "cancelled"}
    assert run.status == ends[events[-1]["type"]]


@asynccontextmanager
async def bench(
    agent: Callable[..., Any] | Agent | None,
    *,
    allowed: Any = None,
    slots: int = 100,
    queue: int = 1000,
    duration: float = 60.0,
    secrets: tuple[str, ...] = (),
    tools: ToolPolicy | None = None,
    backend: Backend | None = None,
    waiting_counts: bool = True,
    max_event_bytes: int = 10 * 2**20,
) -> AsyncIterator[Bench]:
    """Serve an agent; at the end the manager must be empty."""
    ready = HandlerAgent(agent) if callable(agent) else agent
    backend = backend or MemoryBackend(max_events=200_000, ttl=3600)
    metrics = Metrics("tested")
    settings = RunSettings(
        agent_name="tested",
        framework="custom",
        events_filter=EventFilter(allowed),
        output_schema=None,
        max_run_duration=duration,
        max_concurrent_runs=slots,
        max_queued_runs=queue,
        max_stored_events=100_000,
        streamed=True,
        max_event_bytes=max_event_bytes,
        max_emitted_events=1_000_000,
        output_policy=None,
        tools=tools or ToolPolicy(),
        waiting_counts=waiting_counts,
    )
    runs = RunManager(settings, backend, metrics, Redactor(secrets))
    runs.agent = ready
    made = Bench(runs, backend, metrics)
    try:
        yield made
    finally:
        await runs.aclose()
        await backend.aclose()
    await wait_until(lambda: not runs._in_flight._ending)
    assert not runs._in_flight
    assert not runs._in_flight._by_id
    assert made.free_slots == slots
    assert not runs._in_flight._slots._waiting
    assert made.sample("dockrion_active_runs") == 0


async def ran(agent: Callable[..., Any] | Agent, payload: Any = None, **settings: Any) -> Ended:
    """Run an agent once."""
    async with bench(agent, **settings) as made:
        return await made.run(payload)


async def cancelled(
    agent: Callable[..., Any], payload: Any = None, *, after: int = 2, **settings: Any
) -> Ended:
    """Run an agent and cancel it after a number of events, including `started`."""
    async with bench(agent, **settings) as made:
        run_id = await made.start(payload)
        await made.emitted(run_id, after)
        await made.runs.cancel(run_id, "enough")
        return await made.ended(run_id)


class Gate:
    """An agent that waits until it is released; it records the payloads in order."""

    def __init__(self) -> None:
        self.began: list[Any] = []
        self.ended: list[Any] = []
        self.open = asyncio.Event()

    async def __call__(self, payload: Any) -> Any:
        self.began.append(payload)
        try:
            await self.open.wait()
        finally:
            self.ended.append(payload)
        return payload


class Endless:
    """An agent that works until it is stopped."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        try:
            await context.emit_token("begun")
            await asyncio.get_running_loop().create_future()
        finally:
            self.stopped.set()


@asynccontextmanager
async def nothing_unretrieved() -> AsyncIterator[None]:
    """Fail if the event loop reports an unhandled exception."""
    complaints: list[dict[str, Any]] = []
    gc.freeze()  # the collection below need not visit what earlier tests have left
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    try:
        yield
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert not complaints


def spin(context: StreamContext, timeout: float = TIMEOUT_SECONDS) -> None:
    """Block this thread until the run is stopped."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not context.cancelled:
        assert time.monotonic() < deadline, "the run was never stopped"
        pause.wait(0.002)
