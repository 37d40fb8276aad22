"""`@dockrion.tool`: each call of a function is a tool call of its run."""

import asyncio
import inspect
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest

import dockrion
from dockrion import StreamContext, ToolDenied
from dockrion.events import ToolCall, ToolResult
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.testing import RecordingContext
from tests.agents.harness import bench, ran
from tests.runs.test_open_tool_call import called, returned, tools_of


@dockrion.tool
def look(at: int, near: str = "here", *rest: str, **more: Any) -> str:
    """Look somewhere."""
    if at < 0:
        raise ValueError("there is nothing")
    return f"{at} {near} {rest} {more}"


@dockrion.tool(name="search")
async def find(at: int) -> list[int]:
    await asyncio.sleep(0)
    return [at] * 2


@dockrion.tool
def count(to: int) -> Iterator[int]:
    yield from range(to)


@dockrion.tool
def count_to_a_sum(to: int) -> Any:
    yield from range(to)
    return sum(range(to))


@dockrion.tool
async def count_slowly(to: int) -> AsyncIterator[int]:
    for number in range(to):
        await asyncio.sleep(0)
        yield number


class Places:
    @dockrion.tool
    def visit(self, at: int) -> int:
        return at

    @staticmethod
    @dockrion.tool
    def leave(context: StreamContext, at: int) -> int:
        context.raise_if_cancelled()
        return at


def shown(context: RecordingContext) -> list[tuple[Any, ...]]:
    """Return the name and the arguments of each call, and the result of each result."""
    parts: list[tuple[Any, ...]] = []
    for event in context.events:
        if isinstance(event, ToolCall):
            parts.append((event.name, event.arguments))
        elif isinstance(event, ToolResult):
            parts.append((event.result, event.is_error))
    return parts


def test_a_sync_function_shows_its_arguments_by_name() -> None:
    with RecordingContext() as context:
        assert look(1) == "1 here () {}"
        look(2, "there", "a", "b", far=True)
        look(near="home", at=3)
    assert shown(context)[::2] == [
        ("look", {"at": 1}),
        ("look", {"at": 2, "near": "there", "rest": ["a", "b"], "far": True}),
        ("look", {"near": "home", "at": 3}),
    ]
    assert shown(context)[1] == ("1 here () {}", False)


async def test_functions_of_every_kind_show_their_results() -> None:
    with RecordingContext() as context:
        assert await find(3) == [3, 3]
        assert list(count(2)) == [0, 1]
        assert list(count_to_a_sum(3)) == [0, 1, 2]
        assert [number async for number in count_slowly(2)] == [0, 1]
    assert shown(context) == [
        ("search", {"at": 3}),
        ([3, 3], False),
        ("count", {"to": 2}),
        ([0, 1], False),
        ("count_to_a_sum", {"to": 3}),
        (3, False),
        ("count_slowly", {"to": 2}),
        ([0, 1], False),
    ]


async def test_a_generator_whose_reader_has_enough_shows_what_it_yielded() -> None:
    with RecordingContext() as context:
        items = count(5)
        assert next(items) == 0
        items.close()  # type: ignore[attr-defined]
        slow = count_slowly(5)
        assert await anext(slow) == 0
        await slow.aclose()  # type: ignore[attr-defined]
    assert shown(context)[1::2] == [([0], False), ([0], False)]


@dockrion.tool
def echo() -> Generator[Any, Any, str]:
    said: Any = "begin"
    while said != "end":
        try:
            said = yield said
        except ValueError as error:
            said = f"caught {error}"
    return "over"


@dockrion.tool
async def echo_slowly() -> AsyncGenerator[Any, Any]:
    said: Any = "begin"
    while said != "end":
        try:
            said = yield said
        except ValueError as error:
            said = f"caught {error}"


def use_generator() -> None:
    items = echo()
    assert [next(items), items.send(1), items.throw(ValueError("2"))] == ["begin", 1, "caught 2"]
    with pytest.raises(StopIteration) as over:
        items.send("end")
    assert over.value.value == "over"


async def use_async_generator() -> None:
    items = echo_slowly()
    said = [await anext(items), await items.asend(1), await items.athrow(ValueError("2"))]
    assert said == ["begin", 1, "caught 2"]
    with pytest.raises(StopAsyncIteration):
        await items.asend("end")
    failing = echo_slowly()
    await anext(failing)
    with pytest.raises(KeyError):
        await failing.athrow(KeyError)


async def test_generators_get_what_is_sent_and_thrown() -> None:
    async def agent(_payload: Any) -> None:
        use_generator()
        await use_async_generator()

    ended = await ran(agent)
    assert ended.output is None
    results = [each["result"] for each in ended.own if each["type"] == "tool_result"]
    assert results == ["over", ["begin", 1, "caught 2"], "KeyError"]
    use_generator()
    await use_async_generator()


async def test_exceptions_are_shown_and_raised() -> None:
    with RecordingContext() as context:
        with pytest.raises(ValueError, match="nothing"):
            look(-1)
        with pytest.raises(TypeError, match="missing"):
            look()  # type: ignore[call-arg]
    assert shown(context)[1] == ("ValueError: there is nothing", True)
    assert shown(context)[2] == ("look", {})
    assert shown(context)[3][1] is True


async def test_outside_a_run_the_function_is_simply_called() -> None:
    assert look(1) == "1 here () {}"
    assert await find(1) == [1, 1]
    assert list(count(2)) == [0, 1]
    assert [number async for number in count_slowly(2)] == [0, 1]


def test_self_and_the_context_are_not_shown() -> None:
    with RecordingContext() as context:
        assert Places().visit(1) == 1
        assert Places.leave(context, 2) == 2
    assert shown(context)[::2] == [("visit", {"at": 1}), ("leave", {"at": 2})]


def test_values_that_no_event_can_have_are_shown_by_their_type() -> None:
    @dockrion.tool
    def connect(to: Any, text: str) -> Any:
        return [to, text]

    with RecordingContext() as context:
        connect(object(), "a")
    assert shown(context) == [("connect", {"to": "<object>", "text": "a"}), ("<list>", False)]


async def test_values_over_the_size_limit_are_shown_by_their_type() -> None:
    @dockrion.tool
    def double(text: str, times: int) -> str:
        return text * times

    def agent(_payload: Any) -> int:
        return len(double("x" * 6_000_000, 2))

    ended = await ran(agent)
    assert ended.output == 12_000_000
    call, result = tools_of(ended)
    assert call["arguments"] == {"text": "<str>", "times": 2}
    assert result["result"] == "<str>"


def test_signature_name_and_kind_are_those_of_the_function() -> None:
    assert look.__name__ == "look"
    assert look.__doc__ == "Look somewhere."
    assert list(inspect.signature(look).parameters) == ["at", "near", "rest", "more"]
    assert inspect.iscoroutinefunction(find)
    assert inspect.isgeneratorfunction(count)
    assert inspect.isasyncgenfunction(count_slowly)


def test_annotations_for_type_checkers_only_are_not_evaluated() -> None:
    future = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"
    names: dict[str, Any] = {}
    exec(f"{future}def move(at: Missing) -> Missing: return at", names)
    with RecordingContext() as context:
        assert dockrion.tool(names["move"])(1) == 1
    assert shown(context) == [("move", {"at": 1}), (1, False)]


@pytest.mark.parametrize("value", ["search", 5, int, staticmethod(len)])
def test_what_is_no_function_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r'@dockrion.tool\(name="…"\)'):
        dockrion.tool(value)


async def test_calls_are_those_of_the_run_that_makes_them() -> None:
    async def agent(payload: int) -> Any:
        return [await find(payload), await asyncio.to_thread(look, payload)]

    async with bench(agent) as runs:
        ids = [await runs.start(number) for number in range(3)]
        ended = [await runs.ended(run_id) for run_id in ids]
    for number, each in enumerate(ended):
        calls = tools_of(each)
        first, second = calls[0]["tool_call_id"], calls[2]["tool_call_id"]
        assert calls == [
            called(first, "search", {"at": number}),
            returned(first, [number, number], "search"),
            called(second, "look", {"at": number}),
            returned(second, f"{number} here () {{}}"),
        ]


async def test_a_tool_that_is_not_allowed_does_not_run() -> None:
    ended = await ran(lambda _payload: look(1), tools=ToolPolicy(["search"]))
    assert ended.own == [{"type": "custom:tool_denied", "name": "look"}]
    assert ended.code == "POLICY_VIOLATION"


async def test_nor_does_it_in_a_thread_that_belongs_to_no_run() -> None:
    tools = ToolPolicy(["search"])
    denied: list[str] = []

    def call() -> None:
        try:
            look(1)
        except ToolDenied as error:
            denied.append(error.tool)

    def agent(_payload: Any) -> None:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    tools.enforce()
    await ran(agent, tools=tools)
    tools.close()
    assert denied == ["look"]
    assert look(1)
