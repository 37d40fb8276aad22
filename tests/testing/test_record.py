"""`dockrion.testing.record`: an agent's run in a test, without a service."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt

from dockrion import RunCancelled, StreamContext, get_current_context
from dockrion.errors import InvalidRequest
from dockrion.events import Complete, Progress, Token
from dockrion.json_encoding import NotJSON
from dockrion.testing import Caller, Custom, record
from tests.agents import typed
from tests.agents.graphs import State, one_node
from tests.agents.harness import spin


def sync_function(payload: Any, context: StreamContext) -> Any:
    context.sync_emit_token("hi")
    return {"got": payload}


async def async_function(payload: Any) -> Any:
    context = get_current_context()
    assert context is not None
    await context.emit_token("hi")
    return {"got": payload}


def generator(payload: Any) -> Iterator[Any]:
    yield "hi"
    yield {"got": payload}


async def async_generator(payload: Any) -> AsyncIterator[Any]:
    yield "hi"
    yield {"got": payload}


class Invoked:
    def invoke(self, payload: Any) -> Any:
        return sync_function(payload, context_here())


class Streamed:
    async def ainvoke(self, payload: Any) -> Any:
        raise AssertionError(payload)

    def stream(self, payload: Any) -> Iterator[Any]:
        return generator(payload)


def context_here() -> StreamContext:
    context = get_current_context()
    assert context is not None
    return context


AGENTS = [sync_function, async_function, generator, async_generator, Invoked(), Streamed()]


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: getattr(agent, "__name__", type(agent).__name__))
async def test_every_kind_of_agent_in_python_runs_as_in_a_service(agent: Any) -> None:
    async with record(agent, {"word": "rain"}) as run:
        assert get_current_context() is None
        assert [event.type for event in run.events] == ["started", "token", "complete"]
        assert [event.sequence for event in run.events] == [1, 2, 3]
        assert run.ended
        assert run.text == "hi"
        assert run.output == {"got": {"word": "rain"}}
        assert run.error is None


@pytest.mark.parametrize("compiled", [True, False])
async def test_graphs_run_with_their_steps(compiled: bool) -> None:
    async def work(_state: State) -> State:
        await context_here().emit_token("hi")
        return {"word": "snow"}

    graph = one_node(work)
    async with record(graph if compiled else graph.builder, {"word": "rain"}) as run:
        assert [event.type for event in run.events] == ["started", "token", "step", "complete"]
        assert run.output["word"] == "snow"


async def test_interrupts_of_a_graph_can_be_answered() -> None:
    def work(_state: State) -> State:
        return {"word": interrupt("Which word?")}

    graph = one_node(work, checkpointer=InMemorySaver())
    arguments = {"interrupts": "wait", "config": {"configurable": {"thread_id": "t"}}}
    async with record(graph, {}, arguments=arguments, answers={"Which word?": "snow"}) as run:
        assert run.output["word"] == "snow"
    async with record(graph, {}) as run:
        assert isinstance(run.events[-1], Complete)
        assert run.events[-1].metadata["interrupted"]


@pytest.mark.parametrize("arguments", [{"interrupt": "wait"}, {"interrupts": "w"}, {"config": {"x": 1}}])
async def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"interrupt|x"):
        await record(sync_function, arguments=arguments).__aenter__()


async def test_runnables_run() -> None:
    async with record(RunnableLambda(lambda payload: {"got": payload}), 1) as run:
        assert run.output == {"got": 1}


async def test_events_are_structs_of_their_types() -> None:
    async def agent(_payload: Any, context: StreamContext) -> int:
        await context.emit_token("a", "stop")
        await context.emit_progress("half", 0.5)
        await context.emit("mood", happy=True)
        return 3

    async with record(agent) as run:
        _, token, progress, custom, end = run.events
    assert isinstance(token, Token)
    assert (token.content, token.finish_reason, token.run_id) == ("a", "stop", run.run_id)
    assert isinstance(progress, Progress)
    assert (progress.step, progress.progress) == ("half", 0.5)
    assert isinstance(custom, Custom)
    assert (custom.name, custom.data) == ("mood", {"happy": True})
    assert isinstance(end, Complete)
    assert end.output == 3


async def test_payload_and_output_are_what_json_makes_of_them() -> None:
    async with record(lambda payload: (payload["pair"], "b"), {"pair": (1, 2)}) as run:
        assert run.output == [[1, 2], "b"]
    with pytest.raises(NotJSON, match="payload"):
        await record(sync_function, object()).__aenter__()


async def test_an_exception_is_the_runs_error_and_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def agent(_payload: Any) -> None:
        raise ValueError("no rain")

    async with record(agent) as run:
        assert run.error is not None
        assert (run.error.error, run.error.code) == ("ValueError: no rain", "AGENT_EXECUTION_ERROR")
        with pytest.raises(RuntimeError, match="the run has no output: ValueError: no rain"):
            _ = run.output
    assert 'raise ValueError("no rain")' in caplog.text


async def test_filter_decides_which_events_pass() -> None:
    async with record(generator, allowed_events="minimal") as run:
        assert [event.type for event in run.events] == ["started", "complete"]
    with pytest.raises(ValueError, match="chatt"):
        await record(generator, allowed_events="chatt").__aenter__()


async def test_caller_is_that_of_the_context() -> None:
    def agent(_payload: Any, context: StreamContext) -> str:
        return "nobody" if context.caller is None else context.caller.user_id

    async with record(agent, caller=Caller(user_id="ann")) as known, record(agent) as unknown:
        assert (known.output, unknown.output) == ("ann", "nobody")


async def test_only_allowed_tools_can_be_called() -> None:
    @tool
    def search(query: str) -> str:
        """Search."""
        return f"found {query}"

    def agent(payload: Any) -> Any:
        return search.invoke(payload)

    async with record(agent, "rain", allowed_tools=["search"]) as run:
        assert run.output == "found rain"
    async with record(agent, "rain", allowed_tools=[]) as run:
        assert [event.type for event in run.events] == ["started", "custom:tool_denied", "error"]
        assert run.error is not None
        assert run.error.code == "POLICY_VIOLATION"
    assert search.invoke("rain") == "found rain"


async def test_block_is_entered_at_an_event_and_the_run_can_be_cancelled_there() -> None:
    cleaned = False

    async def agent(_payload: Any) -> AsyncIterator[str]:
        nonlocal cleaned
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            cleaned = True

    async with record(agent, until="token") as run:
        assert [event.type for event in run.events] == ["started", "token"]
        with pytest.raises(RuntimeError, match="not over"):
            _ = run.output
        await run.cancel("enough")
        assert cleaned
        assert [event.type for event in run.events] == ["started", "token", "cancelled"]
        assert run.error is None
        with pytest.raises(RuntimeError, match="cancelled"):
            _ = run.output


def three_tokens(_payload: Any) -> Iterator[str]:
    yield from "abc"


async def three_tokens_async(_payload: Any, context: StreamContext) -> str:
    for letter in "abc":
        await context.emit_token(letter)
    return "done"


@pytest.mark.parametrize("agent", [three_tokens, three_tokens_async])
async def test_an_agent_that_never_waits_is_held_at_its_next_emit(agent: Any) -> None:
    async with record(agent, until="token") as run:
        assert run.text == "a"
        await run.wait("token")
        assert run.text == "ab"
        await run.cancel("enough")
        assert [event.type for event in run.events][-1] == "cancelled"


async def test_an_agent_that_has_ended_cannot_be_cancelled() -> None:
    async with record(three_tokens_async) as run:
        with pytest.raises(InvalidRequest, match="over"):
            await run.cancel()
        assert run.output == "done"


async def test_the_next_event_can_be_waited_for_and_the_end() -> None:
    go_on = asyncio.Event()

    async def agent(_payload: Any) -> AsyncIterator[Any]:
        yield "a"
        await go_on.wait()
        yield {"type": "progress", "step": "b", "progress": 1}

    async with record(agent, until="token") as run:
        go_on.set()
        await run.wait("progress")
        assert "progress" in [event.type for event in run.events]
        await run.wait()
        assert run.output == "a"


async def test_a_run_that_goes_on_is_stopped_when_the_block_is_left() -> None:
    stopped = threading.Event()

    def agent(_payload: Any, context: StreamContext) -> None:
        context.sync_emit_token("a")
        spin(context)
        with pytest.raises(RunCancelled):
            context.sync_emit_token("b")
        stopped.set()

    with pytest.raises(ZeroDivisionError):
        async with record(agent, until="token") as run:
            _ = 1 / 0
    assert stopped.is_set()
    assert [event.type for event in run.events] == ["started", "token", "cancelled"]


async def test_an_agent_that_does_not_end_is_stopped_after_its_time() -> None:
    async def agent(_payload: Any) -> None:
        await asyncio.Event().wait()

    async with record(agent, max_run_duration=0.01) as run:
        assert run.error is not None
        assert run.error.code == "TIMEOUT_ERROR"


@pytest.mark.parametrize("value", [5, lambda: None, object()])
async def test_what_is_no_agent_is_refused(value: Any) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(TypeError):
        await record(value).__aenter__()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("agent", [typed.answer, typed.Service()], ids=["handler", "object"])
async def test_payload_arrives_as_the_type_that_the_agent_declares(agent: Any) -> None:
    async with record(agent, {"text": "hi"}) as run:
        assert run.output["text"].lower().startswith("hi")
    with pytest.raises(ValueError, match=r"\$: \"text\" is a required property"):
        async with record(agent, {}):
            raise AssertionError("it ran")
    with pytest.raises(ValueError, match=r"\$\.since: Invalid RFC3339 encoded datetime"):
        async with record(agent, {"text": "hi", "since": "noon"}):
            raise AssertionError("it ran")
