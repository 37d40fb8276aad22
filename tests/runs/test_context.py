"""Each method of `StreamContext`, from each place where agent code may call it."""

import asyncio
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from dockrion import StreamContext, get_current_context
from dockrion.events import EventFilter
from dockrion.runs.session import RunSession
from tests.agents.harness import COMMON, bench, ran


class Call(NamedTuple):
    """One call of an emitter, and the event it makes."""

    method: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    type: str
    fields: dict[str, Any]

    async def emit(self, context: StreamContext) -> None:
        await getattr(context, self.method)(*self.arguments, **self.keywords)

    def sync_emit(self, context: StreamContext) -> None:
        getattr(context, f"sync_{self.method}")(*self.arguments, **self.keywords)

    @property
    def event(self) -> dict[str, Any]:
        return {"type": self.type, **self.fields}


STEP: dict[str, Any] = {"node_name": "plan", "duration_ms": None, "input_keys": [], "output_keys": []}
USAGE = dict.fromkeys(["model", "input_tokens", "output_tokens", "total_tokens", "details"])
CALLS = [
    Call("emit_progress", ("load", 0.5), {}, "progress", {"step": "load", "progress": 0.5, "message": None}),
    Call(
        "emit_progress",
        (),
        {"step": "load", "progress": 1, "message": "done"},
        "progress",
        {"step": "load", "progress": 1.0, "message": "done"},
    ),
    Call("emit_token", ("Hel\nlo",), {}, "token", {"content": "Hel\nlo", "finish_reason": None}),
    Call(
        "emit_token",
        (),
        {"content": "", "finish_reason": "stop"},
        "token",
        {"content": "", "finish_reason": "stop"},
    ),
    Call("emit_step", ("plan",), {}, "step", STEP),
    Call(
        "emit_step",
        ("plan", 12.5, ["a", "b"], ("c",)),
        {},
        "step",
        {"node_name": "plan", "duration_ms": 12.5, "input_keys": ["a", "b"], "output_keys": ["c"]},
    ),
    Call(
        "emit_step",
        (),
        {"node_name": "plan", "output_keys": [], "duration_ms": 3, "input_keys": {"a": 1, "b": 2}.keys()},
        "step",
        {"node_name": "plan", "duration_ms": 3, "input_keys": ["a", "b"], "output_keys": []},
    ),
    Call(
        "emit_step",
        ("plan",),
        {"source": "a/b"},
        "step",
        STEP | {"source": "a/b"},
    ),
    Call(
        "emit_token",
        ("Hello",),
        {"message_id": "m1", "source": "a"},
        "token",
        {"content": "Hello", "finish_reason": None, "message_id": "m1", "source": "a"},
    ),
    Call(
        "emit_message",
        ("Hello",),
        {},
        "message",
        {"role": "assistant", "content": "Hello", "name": None},
    ),
    Call(
        "emit_message",
        ([{"type": "text", "text": "Hi"}], "user"),
        {"message_id": "m1", "name": "Ann", "source": "a"},
        "message",
        {
            "message_id": "m1",
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}],
            "name": "Ann",
            "source": "a",
        },
    ),
    Call("emit_reasoning", ("First",), {}, "reasoning", {"content": "First"}),
    Call(
        "emit_reasoning",
        ("First",),
        {"message_id": "m1", "source": "a"},
        "reasoning",
        {"content": "First", "message_id": "m1", "source": "a"},
    ),
    Call(
        "emit_tool_call",
        ("search", {"q": (1, 2)}, "c1"),
        {"message_id": "m1", "source": "a"},
        "tool_call",
        {
            "tool_call_id": "c1",
            "name": "search",
            "arguments": {"q": [1, 2]},
            "message_id": "m1",
            "source": "a",
        },
    ),
    Call(
        "emit_tool_call",
        ("now",),
        {"tool_call_id": "c2"},
        "tool_call",
        {"tool_call_id": "c2", "name": "now", "arguments": {}},
    ),
    Call(
        "emit_tool_result",
        ("c9", {"hits": 3}),
        {},
        "tool_result",
        {"tool_call_id": "c9", "name": None, "result": {"hits": 3}, "is_error": False, "duration_ms": None},
    ),
    Call(
        "emit_tool_result",
        ("c9", "no such file", True),
        {"name": "read", "duration_ms": 2.0, "source": "a"},
        "tool_result",
        {
            "tool_call_id": "c9",
            "name": "read",
            "result": "no such file",
            "is_error": True,
            "duration_ms": 2,
            "source": "a",
        },
    ),
    Call("emit_usage", (), {}, "usage", USAGE),
    Call(
        "emit_usage",
        ("m", 3, 4.0),
        {"details": {"cached": 1}, "source": "a"},
        "usage",
        {
            "model": "m",
            "input_tokens": 3,
            "output_tokens": 4,
            "total_tokens": 7,
            "details": {"cached": 1},
            "source": "a",
        },
    ),
    Call("checkpoint", ("draft", {"text": "…"}), {}, "checkpoint", {"name": "draft", "data": {"text": "…"}}),
    Call("checkpoint", (), {"name": "none", "data": None}, "checkpoint", {"name": "none", "data": None}),
    Call("emit", ("found", {"url": "u", "rank": 1}), {}, "custom:found", {"url": "u", "rank": 1}),
    Call("emit", ("custom:found", None), {"rank": 2}, "custom:found", {"rank": 2}),
    Call("emit_heartbeat", (), {}, "heartbeat", {}),
]

Handler = Callable[..., Any]


def in_async_handler(call: Call) -> Handler:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await call.emit(context)

    return agent


def in_task(call: Call) -> Handler:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await asyncio.create_task(call.emit(context))

    return agent


def sync_in_running_loop(call: Call) -> Handler:
    async def agent(_payload: Any, context: StreamContext) -> None:
        call.sync_emit(context)

    return agent


def in_sync_handler(call: Call) -> Handler:
    def agent(_payload: Any, context: StreamContext) -> None:
        call.sync_emit(context)

    return agent


def in_to_thread(call: Call) -> Handler:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await asyncio.to_thread(call.sync_emit, context)

    return agent


def in_plain_thread(call: Call) -> Handler:
    def agent(_payload: Any, context: StreamContext) -> None:
        thread = threading.Thread(target=call.sync_emit, args=(context,))
        thread.start()
        thread.join()

    return agent


def in_foreign_loop(call: Call) -> Handler:
    def agent(_payload: Any, context: StreamContext) -> None:
        asyncio.run(call.emit(context))

    return agent


def sync_in_foreign_loop(call: Call) -> Handler:
    def agent(_payload: Any, context: StreamContext) -> None:
        async def main() -> None:
            call.sync_emit(context)

        asyncio.run(main())

    return agent


ASYNC_PLACES = [in_async_handler, in_task, in_foreign_loop]
SYNC_PLACES = [
    sync_in_running_loop,
    in_sync_handler,
    in_to_thread,
    in_plain_thread,
    sync_in_foreign_loop,
]


def placed() -> Iterator[Any]:
    """Yield each call in one place where it is awaited and one where it is not, in turn."""
    for number, call in enumerate(CALLS):
        for places in (ASYNC_PLACES, SYNC_PLACES):
            place = places[number % len(places)]
            yield pytest.param(call, place, id=f"{call.method}-{len(call.keywords)}-{place.__name__}")


@pytest.mark.parametrize(("call", "place"), list(placed()))
async def test_event_has_exactly_its_fields_from_anywhere(
    call: Call, place: Callable[[Call], Handler]
) -> None:
    ended = await ran(place(call))
    assert ended.types == ["started", call.type, "complete"]
    assert ended.own == [call.event]
    assert set(ended.events[1]) == {*COMMON, *call.fields}


async def test_common_fields_come_first_and_are_correct() -> None:
    before = datetime.now(UTC)
    ended = await ran(in_async_handler(CALLS[0]))
    after = datetime.now(UTC)
    for number, event in enumerate(ended.events, 1):
        assert tuple(event)[:5] == COMMON
        assert event["id"] == f"{ended.run.run_id}:{number}"
        assert event["run_id"] == ended.run.run_id
        assert event["sequence"] == number
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", event["timestamp"])
        assert before <= datetime.fromisoformat(event["timestamp"]) <= after
    stamps = [datetime.fromisoformat(event["timestamp"]) for event in ended.events]
    assert stamps == sorted(stamps)


async def test_run_id_is_the_runs() -> None:
    def agent(_payload: Any, context: StreamContext) -> str:
        return context.run_id

    ended = await ran(agent)
    assert ended.output == ended.run.run_id


async def test_events_filter_is_the_dockfiles() -> None:
    def agent(_payload: Any, context: StreamContext) -> list[bool]:
        assert isinstance(context.events_filter, EventFilter)
        return [context.events_filter.allows(name) for name in ("token", "step", "custom:x", "complete")]

    assert (await ran(agent, allowed=["token", "custom:x"])).output == [True, False, True, True]


async def test_cancelled_is_false_unless_the_run_is_stopped() -> None:
    kept: list[StreamContext] = []

    def agent(_payload: Any, context: StreamContext) -> bool:
        kept.append(context)
        context.raise_if_cancelled()
        return context.cancelled

    assert (await ran(agent)).output is False
    assert kept[0].cancelled is False


async def test_properties_cannot_be_set() -> None:
    async def agent(_payload: Any, context: Any) -> None:
        for name in ("run_id", "cancelled", "events_filter"):
            with pytest.raises(AttributeError):
                setattr(context, name, None)

    assert (await ran(agent)).output is None


def test_there_is_no_current_context_outside_a_run() -> None:
    assert get_current_context() is None


async def test_current_context_does_not_leak_into_the_caller() -> None:
    async with bench(lambda _payload: get_current_context() is not None) as made:
        assert (await made.run()).output is True
        assert await made.invoke() is True
        assert get_current_context() is None


async def _deep() -> StreamContext | None:
    async def deeper() -> StreamContext | None:
        return get_current_context()

    return await deeper()


async def test_current_context_reaches_coroutines_tasks_and_threads_of_async_code() -> None:
    async def agent(_payload: Any, context: StreamContext) -> list[bool]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_deep())
        found = [
            get_current_context(),
            await _deep(),
            await asyncio.gather(_deep(), _deep()),
            task.result(),
            await asyncio.to_thread(get_current_context),
        ]
        return [item in (context, [context, context]) for item in found]

    assert (await ran(agent)).output == [True] * 5


async def test_current_context_reaches_sync_handlers_and_loops_they_run() -> None:
    def agent(_payload: Any, context: StreamContext) -> list[bool]:
        async def main() -> list[bool]:
            return [await _deep() is context, await asyncio.to_thread(get_current_context) is context]

        return [get_current_context() is context, *asyncio.run(main())]

    assert (await ran(agent)).output == [True] * 3


async def test_current_context_reaches_generators() -> None:
    def generator(_payload: Any) -> Any:
        yield {"here": get_current_context() is not None}

    async def async_generator(_payload: Any) -> Any:
        yield {"here": get_current_context() is not None}

    assert (await ran(generator)).output == {"here": True}
    assert (await ran(async_generator)).output == {"here": True}


async def test_each_of_many_runs_has_its_own_current_context() -> None:
    async def agent(payload: str) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            context = get_current_context()
            assert context is not None
            await asyncio.to_thread(context.sync_emit_token, f"{payload} {context.run_id}")

    async with bench(agent) as made:
        run_ids = [await made.start(str(n)) for n in range(20)]
        for n, run_id in enumerate(run_ids):
            assert (await made.ended(run_id)).tokens == [f"{n} {run_id}"] * 5


def test_agents_see_what_the_contract_promises_and_nothing_else() -> None:
    emits = {"checkpoint", "emit", "emit_heartbeat", "emit_message", "emit_progress", "emit_reasoning"}
    emits |= {"ask", "emit_step", "emit_token", "emit_tool_call", "emit_tool_result", "emit_usage"}
    refused = {"emit_started", "emit_complete", "emit_error", "emit_cancelled"}
    state = {
        "run_id",
        "attempt",
        "cancelled",
        "events_filter",
        "caller",
        "request",
        "raise_if_cancelled",
        "is_tool_allowed",
        "tool",
    }
    twins = {f"sync_{name}" for name in emits}
    context = RunSession("run", EventFilter(), None).context
    assert {name for name in dir(context) if not name.startswith("_")} == emits | twins | refused | state


def test_a_context_and_its_session_leave_no_reference_cycle() -> None:
    session = RunSession("run", EventFilter(), None)
    context = weakref.ref(session.context)
    del session
    assert context() is None
