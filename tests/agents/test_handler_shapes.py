"""Functions of every shape as handlers."""

# Lambdas that only pass on are shapes too.
# ruff: noqa: PLW0108

import asyncio
import functools
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.agents.handler import HandlerAgent
from tests.agents.harness import bench, ran

Seen = dict[str, Any]


def _seen(context: StreamContext | None) -> Seen:
    if context is not None:
        context.sync_emit_token("x")
    return {"thread": threading.current_thread() is not threading.main_thread()}


def sync_function(payload: Any, context: StreamContext) -> Any:
    return {"got": payload, **_seen(context)}


async def async_function(payload: Any, context: StreamContext) -> Any:
    await asyncio.sleep(0)
    return {"got": payload, **_seen(context)}


def returns_coroutine(payload: Any, context: StreamContext) -> Any:
    return async_function(payload, context)


def returns_task_like(payload: Any, context: StreamContext) -> Any:
    class Later:
        def __await__(self) -> Any:
            return async_function(payload, context).__await__()

    return Later()


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    return wrapper


def async_decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*arguments: Any, **keywords: Any) -> Any:
        return await function(*arguments, **keywords)

    return wrapper


class Methods:
    def method(self, payload: Any, context: StreamContext) -> Any:
        return sync_function(payload, context)

    async def async_method(self, payload: Any, context: StreamContext) -> Any:
        return await async_function(payload, context)

    @staticmethod
    def static(payload: Any, context: StreamContext) -> Any:
        return sync_function(payload, context)

    @classmethod
    async def async_of_class(cls, payload: Any, context: StreamContext) -> Any:
        return await async_function(payload, context)


class Callable_:  # noqa: N801
    def __call__(self, payload: Any, context: StreamContext) -> Any:
        return sync_function(payload, context)


class AsyncCallable:
    async def __call__(self, payload: Any, context: StreamContext) -> Any:
        return await async_function(payload, context)


def with_model(model: str, payload: Any, context: StreamContext) -> Any:
    assert model == "m"
    return sync_function(payload, context)


async def async_with_model(payload: Any, context: StreamContext, *, model: str) -> Any:
    assert model == "m"
    return await async_function(payload, context)


IN_THREAD: dict[str, Callable[..., Any]] = {
    "def": sync_function,
    "lambda": lambda payload, context: sync_function(payload, context),
    "method": Methods().method,
    "static method": Methods.static,
    "callable object": Callable_(),
    "partial": functools.partial(with_model, "m"),
    "partial of a callable object": functools.partial(Callable_()),
    "decorated": decorated(sync_function),
    "cached": functools.lru_cache(lambda payload, context: sync_function(payload, context)),
}
ON_LOOP: dict[str, Callable[..., Any]] = {
    "async def": async_function,
    "async method": Methods().async_method,
    "async class method": Methods.async_of_class,
    "async callable object": AsyncCallable(),
    "async partial": functools.partial(async_with_model, model="m"),
    "partial of a partial": functools.partial(functools.partial(async_with_model), model="m"),
    "partial of an async callable object": functools.partial(AsyncCallable()),
    "decorated async": decorated(async_function),
    "async decorated async": async_decorated(async_function),
    "lambda that returns a coroutine": lambda payload, context: async_function(payload, context),
    "def that returns a coroutine": returns_coroutine,
    "def that returns an awaitable": returns_task_like,
}


@pytest.mark.parametrize("name", [*IN_THREAD, *ON_LOOP])
async def test_handler_of_any_shape_gets_payload_and_context(name: str) -> None:
    agent = (IN_THREAD | ON_LOOP)[name]
    expected = {"got": "payload", "thread": name in IN_THREAD}
    ended = await ran(agent, "payload")
    assert ended.output == expected
    assert ended.types == ["started", "token", "complete"]
    async with bench(agent) as made:
        assert await made.invoke("payload") == expected


@pytest.mark.parametrize("payload", [None, 0, "", [], {}, [1], {"a": {"b": None}}, 1.5, True], ids=repr)
async def test_any_json_payload_reaches_the_handler_unchanged(payload: Any) -> None:
    async def agent(payload: Any) -> Any:
        return [type(payload).__name__, payload]

    assert (await ran(agent, payload)).output == [type(payload).__name__, payload]


@pytest.mark.parametrize("output", [None, 0, False, "", "text", [], {}, {"type": "token"}], ids=repr)
async def test_any_returned_value_is_the_output(output: Any) -> None:
    async def async_agent(_payload: Any) -> Any:
        return output

    for agent in (lambda _payload: output, async_agent):
        ended = await ran(agent)
        assert ended.output == output
        assert ended.types == ["started", "complete"]


async def test_returned_list_is_not_a_stream() -> None:
    ended = await ran(lambda _payload: ["a", {"type": "token", "content": "b"}])
    assert ended.output == ["a", {"type": "token", "content": "b"}]
    assert ended.types == ["started", "complete"]


def one_by_one(payload: Any) -> Any:
    yield "Hel"
    yield "lo"
    return {"got": payload}


async def async_one_by_one(payload: Any) -> Any:
    yield "Hel"
    yield "lo"
    yield {"got": payload}


class AsyncIterable_:  # noqa: N801
    """An iterable that is not a generator and cannot be closed."""

    def __init__(self, payload: Any) -> None:
        self._payload = payload

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for item in async_one_by_one(self._payload):
            yield item


async def _coroutine_that_returns_a_stream(payload: Any) -> Any:
    return async_one_by_one(payload)


class GeneratorMethods:
    def method(self, payload: Any) -> Any:
        yield from one_by_one(payload)
        return {"got": payload}

    async def async_method(self, payload: Any) -> Any:
        async for item in async_one_by_one(payload):
            yield item


class AsyncGeneratorCallable:
    async def __call__(self, payload: Any) -> Any:
        async for item in async_one_by_one(payload):
            yield item


STREAMS: dict[str, Callable[..., Any]] = {
    "generator": one_by_one,
    "async generator": async_one_by_one,
    "generator method": GeneratorMethods().method,
    "async generator method": GeneratorMethods().async_method,
    "async generator callable": AsyncGeneratorCallable(),
    "partial of a generator": functools.partial(one_by_one),
    "partial of an async generator": functools.partial(async_one_by_one),
    "decorated generator": decorated(one_by_one),
    "decorated async generator": decorated(async_one_by_one),
    "lambda that returns a generator": lambda payload: one_by_one(payload),
    "lambda that returns an async generator": lambda payload: async_one_by_one(payload),
    "coroutine that returns an async generator": _coroutine_that_returns_a_stream,
    "lambda that returns such a coroutine": lambda payload: _coroutine_that_returns_a_stream(payload),
    "lambda that returns an async iterable": lambda payload: AsyncIterable_(payload),
    "lambda that returns an iterator": lambda payload: iter(["Hel", "lo", {"got": payload}]),
    "lambda that returns a chain": lambda payload: itertools.chain(["Hel", "lo"], [{"got": payload}]),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_generator_of_any_shape_is_streamed(name: str) -> None:
    ended = await ran(STREAMS[name], 5)
    assert ended.tokens == ["Hel", "lo"]
    assert ended.output == {"got": 5}
    async with bench(STREAMS[name]) as made:
        assert await made.invoke(5) == {"got": 5}


def no_parameter() -> None: ...
def keywords_only(*, payload: Any) -> None: ...
def any_keywords(**keywords: Any) -> None: ...
def two_payloads(payload: Any, other: Any) -> None: ...
def only_context(context: StreamContext) -> None: ...
def context_and_nothing(_context: StreamContext, /) -> None: ...
def extra_keyword(payload: Any, context: StreamContext, *, model: str) -> None: ...
async def async_no_parameter() -> None: ...
def generator_no_parameter() -> Any:
    yield


class NoParameter:
    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    "handler",
    [
        no_parameter,
        keywords_only,
        any_keywords,
        two_payloads,
        only_context,
        context_and_nothing,
        extra_keyword,
        async_no_parameter,
        generator_no_parameter,
        NoParameter(),
        lambda: None,
        functools.partial(two_payloads, 1, 2),
    ],
    ids=lambda handler: getattr(handler, "__name__", type(handler).__name__),
)
def test_handler_that_cannot_take_a_payload_is_rejected(handler: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        HandlerAgent(handler)


async def test_builtin_without_a_signature_is_called_with_the_payload() -> None:
    assert (await ran(dict, [["a", 1]])).output == {"a": 1}
    assert (await ran(str.upper, "a")).output == "A"


async def test_sync_handlers_run_concurrently_and_stream_at_once() -> None:
    gate = threading.Barrier(6)

    def agent(payload: Any, context: StreamContext) -> Any:
        context.sync_emit_token("working")
        gate.wait(10)
        return payload

    async with bench(agent) as made:
        run_ids = [await made.start(n) for n in range(5)]
        for run_id in run_ids:
            await made.emitted(run_id, 2)
            assert await made.status(run_id) == "running"
        await asyncio.to_thread(gate.wait, 10)
        assert [(await made.ended(run_id)).output for run_id in run_ids] == list(range(5))
