"""`dockrion.testing.RecordingContext`: a context made by hand, for functions that a test calls itself."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import dockrion_events
from dockrion import RunCancelled, StreamContext, ToolDenied, get_current_context
from dockrion.events import Checkpoint, Started, Token, ToolCall, ToolResult
from dockrion.json_encoding import NotJSON
from dockrion.testing import Caller, Custom, RecordingContext, record


def test_a_sync_function_can_be_called_without_an_event_loop() -> None:
    def answer(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
        context.sync_emit_token("Hello ")
        context.sync_emit_token(payload["name"], "stop")
        context.sync_checkpoint("found", {"at": (1, 2)})
        context.sync_emit("mood", happy=True)
        return {"greeted": payload["name"]}

    context = RecordingContext()
    assert answer({"name": "rain"}, context) == {"greeted": "rain"}
    assert context.text == "Hello rain"
    _, token, checkpoint, custom = context.events
    assert isinstance(token, Token)
    assert (token.content, token.finish_reason) == ("rain", "stop")
    assert (token.sequence, token.run_id, token.id) == (2, "test", "test:2")
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.data == {"at": [1, 2]}
    assert isinstance(custom, Custom)
    assert (custom.type, custom.name, custom.data) == ("custom:mood", "mood", {"happy": True})


def test_it_is_a_stream_context_under_every_import_name() -> None:
    context = RecordingContext("mine", caller=Caller(user_id="ann"))
    assert isinstance(context, StreamContext)
    assert isinstance(context, dockrion_events.StreamContext)
    assert (context.run_id, context.cancelled, context.attempt) == ("mine", False, 1)
    assert context.caller == Caller(user_id="ann")


async def test_code_can_be_tested_in_a_later_attempt() -> None:
    async def agent(_payload: Any, context: StreamContext) -> int:
        return context.attempt

    assert await agent(None, RecordingContext(attempt=2)) == 2
    async with record(agent, attempt=2) as run:
        assert run.output == 2
    started = run.events[0]
    assert isinstance(started, Started)
    assert (started.attempt, started.previous) == (2, "worker_lost")


async def test_it_records_what_a_run_emits() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_message("hi", name="bot")
        await context.emit_reasoning("hm", source="a/b")
        await context.emit_usage("m", 1, 2)
        call = await context.emit_tool_call("look", {"at": 1}, "c1")
        await context.emit_tool_result(call, [1], duration_ms=2)
        await context.emit_step("work", 3, ["a"], ["b"])
        await context.emit_progress("work", 2)
        await context.emit_heartbeat()

    context = RecordingContext()
    await agent(None, context)
    async with record(agent) as run:
        expected = run.events[1:-1]
    common = {"id", "run_id", "sequence", "timestamp"}
    for mine, theirs in zip(context.events, expected, strict=True):
        names = set(theirs.__struct_fields__) - common
        assert {name: getattr(mine, name) for name in names} == {
            name: getattr(theirs, name) for name in names
        }


async def test_in_its_block_it_is_the_current_context_in_tasks_and_threads_too() -> None:
    def emit(text: str) -> None:
        current = get_current_context()
        assert current is not None
        current.sync_emit_token(text)

    with RecordingContext() as outer:
        emit("a")
        with RecordingContext() as inner:
            await asyncio.gather(asyncio.to_thread(emit, "b"), asyncio.to_thread(emit, "b"))
        emit("c")
    assert get_current_context() is None
    assert (outer.text, inner.text) == ("ac", "bb")


def test_many_threads_may_emit_at_once() -> None:
    context = RecordingContext()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(context.sync_emit_token, ["x"] * 800))
    assert [event.sequence for event in context.events] == list(range(1, 801))


def test_filter_decides_which_events_are_recorded() -> None:
    context = RecordingContext(allowed_events=["progress"])
    context.sync_emit_token("a")
    context.sync_emit_progress("a", 1)
    assert [event.type for event in context.events] == ["progress"]
    assert not context.events_filter.allows("token")


def test_what_a_run_refuses_is_refused() -> None:
    context = RecordingContext()
    with pytest.raises(TypeError, match="content"):
        context.sync_emit_token(5)  # type: ignore[arg-type]
    with pytest.raises(NotJSON, match="data"):
        context.sync_checkpoint("a", object())
    assert context.events == []


async def test_after_a_cancel_every_emit_raises() -> None:
    context = RecordingContext()
    context.cancel()
    assert context.cancelled
    with pytest.raises(RunCancelled):
        context.sync_emit_token("a")
    with pytest.raises(RunCancelled):
        await context.emit_token("a")
    with pytest.raises(RunCancelled):
        context.raise_if_cancelled()
    assert context.events == []


def test_only_allowed_tools_can_be_called() -> None:
    context = RecordingContext(allowed_tools=["look"])
    call = context.sync_emit_tool_call("look", {"at": 1})
    context.sync_emit_tool_result(call, "rain")
    with pytest.raises(ToolDenied, match="erase"):
        context.sync_emit_tool_call("erase")
    assert context.is_tool_allowed("look")
    assert not context.is_tool_allowed("erase")
    called, result, denied = context.events
    assert isinstance(called, ToolCall)
    assert isinstance(result, ToolResult)
    assert (called.name, called.arguments, result.result) == ("look", {"at": 1}, "rain")
    assert result.tool_call_id == called.tool_call_id == call
    assert denied.type == "custom:tool_denied"


async def test_headers_of_the_request_are_those_that_the_test_gives() -> None:
    context = RecordingContext(headers={"X-Tenant": "acme"})
    assert context.request.headers["x-tenant"] == "acme"
    assert dict(RecordingContext().request.headers) == {}

    def agent(_payload: Any, context: StreamContext) -> Any:
        return dict(context.request.headers)

    async with record(agent, headers={"X-Tenant": "acme"}) as run, record(agent) as without:
        assert (run.output, without.output) == ({"X-Tenant": "acme"}, {})
