"""Whatever is emitted, from any thread or task: every reader gets exactly the allowed events, in order."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockrion import StreamContext
from dockrion.events import EventFilter
from tests.agents.harness import bench, check_promises, read

TYPES = ["token", "progress", "step", "checkpoint", "heartbeat", "custom:a", "custom:b"]
WAYS = ["await", "sync", "to_thread", "task", "pause"]

filters = st.one_of(
    st.sampled_from([None, "all", "debug", "chat", "minimal"]),
    st.lists(st.sampled_from([*TYPES, "custom", "started", "error"]), max_size=4, unique=True),
)
emits = st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from(WAYS)), max_size=25)


@dataclass(frozen=True)
class Plan:
    """What one run does.

    Attributes:
        coroutines: For each of some concurrent coroutines, what it emits and how.
        threads: For each of some concurrent threads, the types it emits.
        allowed: The filter.
        end: How it ends.
        readers: After how many events each reader joins.
    """

    coroutines: list[list[tuple[str, str]]]
    threads: list[list[str]]
    allowed: Any
    end: str
    readers: list[int] = field(default_factory=list)


plans = st.builds(
    Plan,
    coroutines=st.lists(emits, max_size=3),
    threads=st.lists(st.lists(st.sampled_from(TYPES), max_size=25), max_size=3),
    allowed=filters,
    end=st.sampled_from(["return", "raise", "cancel", "unfit output"]),
    readers=st.lists(st.integers(0, 60), min_size=1, max_size=4),
)


def emitters(context: StreamContext, event_type: str, mark: str) -> tuple[Callable[[], Any], ...]:
    """Return the async and the sync emit of an event that carries a mark, if its type can."""
    arguments: dict[str, tuple[str, tuple[Any, ...]]] = {
        "token": ("emit_token", (mark,)),
        "progress": ("emit_progress", (mark, 0.5)),
        "step": ("emit_step", (mark,)),
        "checkpoint": ("checkpoint", (mark, [mark])),
        "heartbeat": ("emit_heartbeat", ()),
    }
    method, given = arguments.get(event_type, ("emit", (event_type, {"mark": mark})))
    asynchronous, synchronous = getattr(context, method), getattr(context, f"sync_{method}")
    return (lambda: asynchronous(*given)), (lambda: synchronous(*given))


def mark_of(event: dict[str, Any]) -> str | None:
    for name in ("content", "step", "node_name", "name", "mark"):
        if name in event:
            return str(event[name])
    return None


async def coroutine(context: StreamContext, lane: str, emitted: list[tuple[str, str]]) -> None:
    for n, (event_type, way) in enumerate(emitted):
        emit, sync_emit = emitters(context, event_type, f"{lane}.{n}")
        match way:
            case "await":
                await emit()
            case "sync":
                sync_emit()
            case "to_thread":
                await asyncio.to_thread(sync_emit)
            case "task":
                await asyncio.create_task(emit())
            case _:
                await asyncio.sleep(0)
                await emit()


def thread(context: StreamContext, lane: str, types: list[str]) -> None:
    for n, event_type in enumerate(types):
        emitters(context, event_type, f"{lane}.{n}")[1]()


def agent_of(plan: Plan, emitted_all: asyncio.Event) -> Callable[..., Awaitable[Any]]:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        threads = [
            threading.Thread(target=thread, args=(context, f"t{n}", types))
            for n, types in enumerate(plan.threads)
        ]
        for each in threads:
            each.start()
        await asyncio.gather(
            *(coroutine(context, f"c{n}", lane) for n, lane in enumerate(plan.coroutines)),
            *(asyncio.to_thread(each.join) for each in threads),
        )
        emitted_all.set()
        match plan.end:
            case "raise":
                raise ValueError("as planned")
            case "cancel":
                await asyncio.Event().wait()
            case "unfit output":
                return object()
        return "done"

    return agent


def expected(plan: Plan) -> dict[str, list[tuple[str, str]]]:
    """Return for each lane what must arrive of it, in order."""
    allows = EventFilter(plan.allowed).allows
    lanes = {f"c{n}": [kind for kind, _ in lane] for n, lane in enumerate(plan.coroutines)}
    lanes |= {f"t{n}": lane for n, lane in enumerate(plan.threads)}
    return {
        name: [(kind, f"{name}.{n}") for n, kind in enumerate(lane) if kind != "heartbeat" and allows(kind)]
        for name, lane in lanes.items()
    }


ENDS = {"return": "complete", "raise": "error", "cancel": "cancelled", "unfit output": "error"}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans)
async def test_every_reader_gets_every_allowed_event_once_in_order_and_one_terminal(plan: Plan) -> None:
    emitted_all = asyncio.Event()
    async with bench(agent_of(plan, emitted_all), allowed=plan.allowed) as made:
        run_id = await made.start()

        async def join(after: int) -> list[dict[str, Any]]:
            while (run := await made.backend.get(run_id)).last_sequence < after and not run.finished:
                await asyncio.sleep(0)
            return await read(made.backend, run_id)

        readers = [asyncio.create_task(join(after)) for after in plan.readers]
        if plan.end == "cancel":
            await asyncio.wait_for(emitted_all.wait(), 30)
            await made.runs.cancel(run_id, None)
        seen = await asyncio.gather(*readers)
        run = await made.backend.get(run_id)

    for events in seen:
        assert events == seen[0]
    check_promises(run, seen[0])
    assert seen[0][0]["type"] == "started"
    assert seen[0][-1]["type"] == ENDS[plan.end]
    own = seen[0][1:-1]
    beats = [event for event in own if event["type"] == "heartbeat"]
    arrived: dict[str, list[tuple[str, str]]] = {name: [] for name in expected(plan)}
    for event in own:
        if (mark := mark_of(event)) is not None:
            arrived[mark.partition(".")[0]].append((event["type"], mark))
    assert arrived == expected(plan)
    kinds = [kind for lane in plan.coroutines for kind, _ in lane]
    kinds += [kind for lane in plan.threads for kind in lane]
    assert len(beats) == (kinds.count("heartbeat") if EventFilter(plan.allowed).allows("heartbeat") else 0)
    assert len(own) == len(beats) + sum(len(lane) for lane in arrived.values())


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 512, 513, 1000])
async def test_no_event_is_lost_around_the_sizes_of_buffer_and_page(count: int) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        for n in range(count):
            await context.emit_token(str(n))

    async with bench(agent) as made:
        assert (await made.run()).tokens == [str(n) for n in range(count)]
