"""Objects that an entrypoint's factory returns."""

import asyncio
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.agents.handler import ObjectAgent
from tests.agents.harness import Ended, bench

METHODS = ("invoke", "ainvoke", "stream", "astream")


def invoke(payload: Any) -> Any:
    return {"by": "invoke", "got": payload}


async def ainvoke(payload: Any) -> Any:
    return {"by": "ainvoke", "got": payload}


def stream(payload: Any) -> Any:
    yield "chunk"
    yield {"by": "stream", "got": payload}


async def astream(payload: Any) -> Any:
    yield "chunk"
    yield {"by": "astream", "got": payload}


ALL = {"invoke": invoke, "ainvoke": ainvoke, "stream": stream, "astream": astream}


def _combinations() -> Iterator[tuple[str, ...]]:
    for count in range(1, 5):
        yield from itertools.combinations(METHODS, count)


def _made(methods: tuple[str, ...]) -> SimpleNamespace:
    return SimpleNamespace(**{name: ALL[name] for name in methods})


async def _run(made: Any, payload: Any = None) -> Ended:
    async with bench(ObjectAgent(made)) as runs:
        return await runs.run(payload)


@pytest.mark.parametrize(
    "methods", [m for m in _combinations() if {"invoke", "ainvoke"} & set(m)], ids="+".join
)
async def test_streams_serve_runs_and_the_async_method_is_preferred(methods: tuple[str, ...]) -> None:
    first = {name: None for name in ("astream", "stream", "ainvoke", "invoke") if name in methods}
    for_runs = next(iter(first))
    for_invoke = "ainvoke" if "ainvoke" in methods else "invoke"
    async with bench(ObjectAgent(_made(methods))) as made:
        ended = await made.run(7)
        assert ended.output == {"by": for_runs, "got": 7}
        assert ended.tokens == (["chunk"] if "stream" in for_runs else [])
        assert await made.invoke(7) == {"by": for_invoke, "got": 7}


@pytest.mark.parametrize("methods", [("stream",), ("astream",), ("stream", "astream"), ()], ids="+".join)
def test_object_without_invoke_is_rejected_by_name(methods: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="SimpleNamespace has no method `invoke` or `ainvoke`"):
        ObjectAgent(_made(methods))


def test_object_whose_invoke_is_not_callable_is_rejected() -> None:
    with pytest.raises(TypeError, match="invoke"):
        ObjectAgent(SimpleNamespace(invoke="text"))


@pytest.mark.parametrize("name", METHODS)
def test_method_that_cannot_take_a_payload_is_rejected(name: str) -> None:
    made = SimpleNamespace(**{"invoke": invoke, name: lambda: None})
    with pytest.raises(TypeError):
        ObjectAgent(made)


async def test_stream_attribute_that_is_not_callable_is_ignored() -> None:
    made = SimpleNamespace(invoke=invoke, stream=None, astream=None, ainvoke=None)
    assert (await _run(made)).output["by"] == "invoke"


async def test_methods_get_the_context_they_declare() -> None:
    class Made:
        def invoke(self, payload: Any, context: StreamContext) -> Any:
            return [payload, context.run_id != ""]

        async def astream(self, emitter: StreamContext, payload: Any) -> Any:
            await emitter.emit_token("own")
            yield payload

    async with bench(ObjectAgent(Made())) as made:
        ended = await made.run(1)
        assert ended.tokens == ["own"]
        assert ended.output == 1
        assert await made.invoke(1) == [1, True]


async def test_other_keyword_arguments_of_a_method_keep_their_defaults() -> None:
    class Made:
        def invoke(self, payload: Any, config: Any = None, **keywords: Any) -> Any:
            return [payload, config, keywords]

    assert (await _run(Made(), 1)).output == [1, None, {}]


async def test_stream_may_be_a_coroutine_that_returns_an_async_iterator() -> None:
    async def coroutine(payload: Any) -> Any:
        return astream(payload)

    ended = await _run(SimpleNamespace(invoke=invoke, astream=coroutine))
    assert ended.tokens == ["chunk"]
    assert ended.output["by"] == "astream"


async def test_stream_may_return_a_list_of_items() -> None:
    made = SimpleNamespace(invoke=invoke, stream=lambda _: ["a", {"type": "token", "content": "b"}, {"c": 1}])
    ended = await _run(made)
    assert ended.tokens == ["a", "b"]
    assert ended.output == {"c": 1}


async def test_async_stream_may_return_a_list_of_items() -> None:
    async def pieces(_payload: Any) -> Any:
        return ["a", {"c": 1}]

    ended = await _run(SimpleNamespace(invoke=invoke, astream=pieces))
    assert ended.tokens == ["a"]
    assert ended.output == {"c": 1}


@pytest.mark.parametrize("whole", [{"a": 1}, "text"], ids=["dict", "str"])
async def test_mapping_returned_by_a_stream_method_is_the_output(whole: Any) -> None:
    ended = await _run(SimpleNamespace(invoke=invoke, stream=lambda _: whole))
    assert ended.output == whole
    assert ended.tokens in ([], [whole])


async def test_one_object_serves_concurrent_runs() -> None:
    class Made:
        def __init__(self) -> None:
            self.at_work = 0

        async def ainvoke(self, payload: Any) -> Any:
            self.at_work += 1
            while self.at_work < 5:
                await asyncio.sleep(0)
            return payload

    async with bench(ObjectAgent(Made())) as made:
        run_ids = [await made.start(n) for n in range(5)]
        assert [(await made.ended(run_id)).output for run_id in run_ids] == list(range(5))
