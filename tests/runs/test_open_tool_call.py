"""`context.tool(…)`: a tool's call as a block, in async and in sync code."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from dockrion import RunCancelled, StreamContext, ToolDenied
from dockrion.json_encoding import NotJSON
from dockrion.runs.tool_policy import ToolPolicy
from tests.agents.harness import Ended, cancelled, ran, spin
from tests.conftest import Serve
from tests.support import data

NOW = 60_000  # ms; no call here takes longer


def tools_of(ended: Ended) -> list[dict[str, Any]]:
    """Return the own fields of calls and results, without what differs from run to run."""
    tools = [own for own in ended.own if own["type"] in {"tool_call", "tool_result"}]
    for event in tools:
        if event["type"] == "tool_result":
            assert 0 <= event.pop("duration_ms") < NOW
    return tools


def called(number: str, name: str = "look", arguments: Any = None) -> dict[str, Any]:
    return {"type": "tool_call", "tool_call_id": number, "name": name, "arguments": arguments or {}}


def returned(number: str, result: Any, name: str = "look", *, is_error: bool = False) -> dict[str, Any]:
    return {
        "type": "tool_result",
        "tool_call_id": number,
        "name": name,
        "result": result,
        "is_error": is_error,
    }


async def use_async(context: StreamContext, work: Callable[[Any], Any], *arguments: Any) -> None:
    async with context.tool("look", *arguments) as call:
        work(call)


def use_sync(context: StreamContext, work: Callable[[Any], Any], *arguments: Any) -> None:
    with context.tool("look", *arguments) as call:
        work(call)


def agent_with(work: Callable[[Any], Any], *arguments: Any, sync: bool) -> Callable[..., Any]:
    async def use_in_async_code(_payload: Any, context: StreamContext) -> None:
        await use_async(context, work, *arguments)

    def use_in_sync_code(_payload: Any, context: StreamContext) -> None:
        use_sync(context, work, *arguments)

    return use_in_sync_code if sync else use_in_async_code


@pytest.mark.parametrize("sync", [True, False])
async def test_a_call_and_its_result_are_emitted(*, sync: bool) -> None:
    def work(call: Any) -> None:
        assert (call.name, call.tool_call_id) == ("look", "c1")
        call.result = {"rain": (1, 2)}

    ended = await ran(agent_with(work, {"at": 1}, "c1", sync=sync))
    assert tools_of(ended) == [called("c1", arguments={"at": 1}), returned("c1", {"rain": [1, 2]})]


async def test_fields_are_optional_and_the_id_is_new_for_each_call() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        async with context.tool("look", message_id="m1", source="a/b"):
            pass
        with context.tool("look"):
            pass

    call, result, second, _ = tools_of(await ran(agent))
    number = call["tool_call_id"]
    assert call == called(number) | {"message_id": "m1", "source": "a/b"}
    assert result == returned(number, None) | {"source": "a/b"}
    assert second["tool_call_id"] != number


async def test_a_tool_may_report_its_error_as_a_result() -> None:
    def work(call: Any) -> None:
        call.result, call.is_error = "no such place", True

    ended = await ran(agent_with(work, None, "c1", sync=False))
    assert tools_of(ended) == [called("c1"), returned("c1", "no such place", is_error=True)]


@pytest.mark.parametrize("sync", [True, False])
async def test_an_exception_is_shown_as_errors_are_and_goes_on(*, sync: bool) -> None:
    def work(_call: Any) -> None:
        raise ValueError("the key hunter-2-hunter-2 is in /etc/secret")

    ended = await ran(agent_with(work, None, "c1", sync=sync), secrets=("hunter-2-hunter-2",))
    message = "ValueError: the key *** is in <path>"
    assert tools_of(ended) == [called("c1"), returned("c1", message, is_error=True)]
    assert ended.error == message


async def test_an_exception_that_the_agent_handles_does_not_end_the_run() -> None:
    async def agent(_payload: Any, context: StreamContext) -> str:
        with suppress(ValueError):
            async with context.tool("look", tool_call_id="c1"):
                raise ValueError("x" * 5000)
        return "done"

    ended = await ran(agent)
    assert ended.output == "done"
    assert tools_of(ended)[1]["result"] == ("ValueError: " + "x" * 5000)[:4000]


@pytest.mark.parametrize("sync", [True, False])
async def test_a_result_that_has_no_json_form_is_an_error_of_the_call(*, sync: bool) -> None:
    def work(call: Any) -> None:
        call.result = object()

    ended = await ran(agent_with(work, None, "c1", sync=sync))
    _, result = tools_of(ended)
    assert result["is_error"]
    assert "result cannot be JSON" in result["result"]
    assert "result cannot be JSON" in ended.error


@pytest.mark.parametrize("sync", [True, False])
async def test_an_error_that_is_too_long_for_an_event_still_ends_the_run(serve: Serve, *, sync: bool) -> None:
    def work(_call: Any) -> None:
        raise ValueError("x" * 2000)

    served = await serve(agent_with(work, sync=sync), limits={"max_event_bytes": 1024})
    async with served.stream() as reader:
        _, _, result, end = [data(message) for message in await reader.all()]
    assert (result["type"], result["is_error"]) == ("tool_result", True)
    assert "limits.max_event_bytes is 1024" in result["result"]
    assert end["error"].startswith("ValueError: xxx")


@pytest.mark.parametrize("sync", [True, False])
async def test_arguments_that_have_no_json_form_raise_before_the_block(*, sync: bool) -> None:
    entered: list[Any] = []
    ended = await ran(agent_with(entered.append, {"at": object()}, sync=sync))
    assert ended.error.startswith(f"{NotJSON.__name__}: arguments.at cannot be JSON")
    assert not entered
    assert tools_of(ended) == []


@pytest.mark.parametrize("sync", [True, False])
async def test_a_tool_that_is_not_allowed_is_denied_before_the_block(*, sync: bool) -> None:
    entered: list[Any] = []
    ended = await ran(agent_with(entered.append, sync=sync), tools=ToolPolicy(["erase"]))
    assert not entered
    assert ended.own == [{"type": "custom:tool_denied", "name": "look"}]
    assert ended.code == "POLICY_VIOLATION"
    assert ended.terminal["details"]["denied_tools"] == ["look"]


async def test_async_code_that_is_cancelled_in_a_call_emits_its_end() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        async with context.tool("look", tool_call_id="c1"):
            await asyncio.Event().wait()

    ended = await cancelled(agent, after=2)
    assert tools_of(ended) == [called("c1"), returned("c1", "the call was cancelled", is_error=True)]
    assert ended.terminal["type"] == "cancelled"


async def test_a_thread_that_is_stopped_in_a_call_emits_its_end() -> None:
    def agent(_payload: Any, context: StreamContext) -> None:
        with context.tool("look", tool_call_id="c1"):
            spin(context)
            context.raise_if_cancelled()

    ended = await cancelled(agent, after=2)
    assert tools_of(ended) == [called("c1"), returned("c1", "the call was cancelled", is_error=True)]


async def test_a_thread_that_is_stopped_at_the_end_of_a_call_emits_it_and_ends() -> None:
    ends: list[BaseException] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        try:
            with context.tool("look", tool_call_id="c1") as call:
                spin(context)
                call.result = "rain"
        except BaseException as error:
            ends.append(error)
            raise

    ended = await cancelled(agent, after=2)
    assert tools_of(ended) == [called("c1"), returned("c1", "rain")]
    assert [type(error) for error in ends] == [RunCancelled]


async def test_nothing_is_emitted_where_the_filter_drops_the_types_but_tools_are_denied() -> None:
    async def agent(payload: str, context: StreamContext) -> str:
        async with context.tool(payload, {"at": object()}) as call:
            call.result = object()
        return "done"

    ended = await ran(agent, "look", allowed="chat", tools=ToolPolicy(["look"]))
    assert (ended.output, ended.own) == ("done", [])
    ended = await ran(agent, "erase", allowed="chat", tools=ToolPolicy(["look"]))
    assert ended.error.startswith(ToolDenied.__name__)


async def test_calls_leave_nothing_open() -> None:
    def agent(_payload: Any, context: StreamContext) -> int:
        for _ in range(3):
            with context.tool("look"):
                pass
        return len(context._emitter._open_calls)

    assert (await ran(agent)).output == 0
