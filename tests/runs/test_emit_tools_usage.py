"""Tool calls and usage: ids, durations, denied tools, and the sums in a run's metadata."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dockrion import StreamContext, ToolDenied
from dockrion.agents.external import ExternalAgent
from dockrion.errors import InvalidRequest
from dockrion.events import EventFilter
from dockrion.runs.agent import Call
from dockrion.runs.session import RunSession
from dockrion.runs.tool_policy import ToolPolicy
from tests.agents.harness import bench, cancelled, ran
from tests.runs.test_ingest import pushed_run

CALL = {"type": "tool_call", "tool_call_id": "c1", "name": "search", "arguments": {}}
SUM = {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6}


async def test_a_result_names_its_call_and_how_long_it_took() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        first = await context.emit_tool_call("search", {"q": "a"})
        second = await context.emit_tool_call("read")
        await asyncio.sleep(0.02)
        await context.emit_tool_result(second, "text")
        await context.emit_tool_result(first, is_error=True)
        await context.emit_tool_result(first, "again")  # its call has had its result

    calls_and_results = (await ran(agent)).own
    ids = [event["tool_call_id"] for event in calls_and_results]
    assert ids[0] != ids[1]
    assert ids[2:] == [ids[1], ids[0], ids[0]]
    results = calls_and_results[2:]
    assert [result["name"] for result in results] == ["read", "search", None]
    assert [result["is_error"] for result in results] == [False, True, False]
    assert all(20 <= result["duration_ms"] < 10_000 for result in results[:2])
    assert results[2]["duration_ms"] is None


async def test_calls_without_a_result_are_forgotten() -> None:
    session = RunSession("run", EventFilter(), None)
    for _ in range(5000):
        await session.context.emit_tool_call("search")
    assert len(session._emitter._open_calls) == 1000


async def test_ids_are_unique_over_threads() -> None:
    ids: list[str] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        def call() -> None:
            ids.extend(context.sync_emit_tool_call("search") for _ in range(200))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    await ran(agent)
    assert len(set(ids)) == 800


@pytest.mark.parametrize("sync", [False, True])
async def test_a_denied_tool_cannot_be_called(*, sync: bool) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_tool_call("search")
        call = (
            asyncio.to_thread(context.sync_emit_tool_call, "drop") if sync else context.emit_tool_call("drop")
        )
        with pytest.raises(ToolDenied):
            await call

    ended = await ran(agent, tools=ToolPolicy(["search"]))
    assert ended.types == ["started", "tool_call", "custom:tool_denied", "complete"]
    assert ended.terminal["metadata"]["denied_tools"] == ["drop"]


async def yielding_async(event: Any) -> AsyncIterator[Any]:
    yield event


def yielding(event: Any) -> Iterator[Any]:
    yield event


@pytest.mark.parametrize("agent", [yielding_async, yielding])
async def test_a_denied_tool_cannot_be_called_by_yielding(agent: Any) -> None:
    assert (await ran(agent, CALL, tools=ToolPolicy(["search"]))).own == [CALL]
    ended = await ran(agent, CALL, tools=ToolPolicy([]))
    assert (ended.code, ended.types[1:-1]) == ("POLICY_VIOLATION", ["custom:tool_denied"])
    assert "name must be a string" in (await ran(agent, CALL | {"name": []}, tools=ToolPolicy([]))).error


async def test_a_pushed_call_of_a_denied_tool_is_refused() -> None:
    async with pushed_run(allowed_tools=["search"]) as run:
        denied: list[bool] = []
        run.ingest._tools.on_denied = lambda: denied.append(True)
        with pytest.raises(InvalidRequest) as caught:
            await run.push([CALL, CALL | {"name": "drop"}])
        assert denied == [True]
        assert [problem["event"] for problem in caught.value.details] == [1]
        assert "not allowed by policies.tools" in caught.value.details[0]["error"]
        assert (await run.push([CALL])).accepted == 1
        assert (await run.end()).types == ["started", "tool_call", "complete"]


@pytest.mark.parametrize("allowed", [None, "chat"])
async def test_usage_is_summed_by_model_whether_or_not_it_is_seen(allowed: str | None) -> None:
    async def agent(_payload: Any, context: StreamContext) -> AsyncIterator[Any]:
        await context.emit_usage("m", 3, 1)
        await asyncio.to_thread(context.sync_emit_usage, "m", 2)
        yield {"type": "usage", "model": "m", "total_tokens": 2}
        await context.emit_usage(output_tokens=7)

    ended = await ran(agent, allowed=allowed)
    expected = {
        "m": {"input_tokens": 5, "output_tokens": 1, "total_tokens": 8},
        "unknown": {"input_tokens": 0, "output_tokens": 7, "total_tokens": 7},
    }
    assert ended.terminal["metadata"]["usage"] == expected
    assert ended.run.metadata["usage"] == expected
    assert ended.types.count("usage") == (0 if allowed else 4)


async def test_a_run_without_usage_has_none_in_its_metadata() -> None:
    async def agent(_payload: Any) -> None:
        return None

    assert "usage" not in (await ran(agent)).terminal["metadata"]


async def test_failed_and_cancelled_runs_have_their_usage_in_the_record() -> None:
    async def agent(payload: Any, context: StreamContext) -> None:
        await context.emit_usage("m", 5, 1)
        if payload == "fail":
            raise ValueError(payload)
        await asyncio.Event().wait()

    for ended in (await ran(agent, "fail"), await cancelled(agent, after=2)):
        assert ended.run.metadata["usage"] == {"m": SUM}


async def test_invocations_have_their_usage_in_the_metadata() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_usage("m", 5, 1)

    async with bench(agent) as made:
        completed, _ = await made.runs.invoke(Call(None), "run", 10)
    assert completed.metadata["usage"] == {"m": SUM}


async def test_pushed_usage_is_summed() -> None:
    async with pushed_run(ExternalAgent(60)) as run:
        await run.push([{"type": "usage", "model": "m", "input_tokens": 5, "output_tokens": 1}])
        assert (await run.end()).run.metadata["usage"] == {"m": SUM}


async def test_usage_of_many_models_is_bounded() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        for number in range(300):
            await context.emit_usage(f"{number}-" + "m" * 1000, 1)

    usage = (await ran(agent, allowed="minimal")).run.metadata["usage"]
    assert len(usage) == 101
    assert usage["other"]["input_tokens"] == 200
    assert max(map(len, usage)) == 200


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "usage", "input_tokens": -1}, "input_tokens must be from 0"),
        ({"type": "usage", "input_tokens": 1.5}, "input_tokens must be an integer"),
        ({"type": "usage", "input_tokens": 2**60}, "input_tokens must be from 0"),
        ({"type": "usage", "details": [1]}, "details must be an object"),
        ({"type": "message", "content": 5}, "content must be text or a list of blocks"),
        ({"type": "message", "content": ["a"]}, r"content\[0\] must be an object"),
        ({"type": "reasoning"}, "content"),
        ({"type": "tool_call", "name": "search"}, "tool_call_id"),
        ({"type": "tool_result", "tool_call_id": "c", "is_error": 1}, "is_error must be true or false"),
        ({"type": "tool_result", "tool_call_id": "c", "result": {1, object()}}, "result"),
        ({"type": "token", "content": "a", "source": 1}, "source must be a string"),
        ({"type": "token", "content": "a", "message_id": []}, "message_id must be a string"),
    ],
)
async def test_a_wrong_field_raises_in_the_agent(event: dict[str, Any], error: str) -> None:
    ended = await ran(yielding_async, event)
    assert ended.types == ["started", "error"]
    assert re.search(error, ended.error), ended.error
