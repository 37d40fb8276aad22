"""What generators yield, what their output is, and when they are closed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from dockrion import StreamContext
from tests.agents.harness import Ended, bench, cancelled, ran, spin
from tests.support import wait_until

TOKEN = {"type": "token", "content": "t"}


async def yielded(items: Sequence[Any], kind: str, **settings: Any) -> Ended:
    """Run a sync or async generator that yields these items."""

    def generator(_payload: Any) -> Any:
        yield from items

    async def async_generator(_payload: Any) -> Any:
        for item in items:
            yield item

    return await ran(generator if kind == "sync" else async_generator, **settings)


both = pytest.mark.parametrize("kind", ["sync", "async"])

OUTPUTS: list[tuple[list[Any], Any]] = [
    ([], None),
    ([None], None),
    ([TOKEN], None),
    (["Hel", "lo"], "Hello"),
    (["", ""], ""),
    (["Hel", None, "lo", TOKEN], "Hello"),
    ([{"a": 1}], {"a": 1}),
    ([{"a": 1}, {"b": 2}], {"b": 2}),
    ([{"a": 1}, "text", TOKEN, None], {"a": 1}),
    ([{}], {}),
    (["x", {}], {}),
    ([{"type": "answer", "text": "t"}], {"type": "answer", "text": "t"}),
    ([{"type": 5}], {"type": 5}),
    ([{"type": None}], {"type": None}),
    ([{"type": ["token"]}], {"type": ["token"]}),
    ([[1, 2]], [1, 2]),
    ([0], 0),
    ([False], False),
]


@both
@pytest.mark.parametrize(("items", "output"), OUTPUTS, ids=repr)
async def test_output_of_a_generator(items: list[Any], output: Any, kind: str) -> None:
    ended = await yielded(items, kind)
    assert ended.output == output
    assert type(ended.output) is type(output)


async def test_returned_value_of_a_generator_is_its_output() -> None:
    def generator(_payload: Any) -> Any:
        yield {"yielded": 1}
        yield "text"
        return {"returned": 2}

    assert (await ran(generator)).output == {"returned": 2}


@both
async def test_text_becomes_tokens_and_known_dicts_become_events_in_order(kind: str) -> None:
    ended = await yielded(
        [
            "Hel",
            {"type": "progress", "step": "x", "progress": 7},
            {"type": "token", "content": "lo", "finish_reason": "stop"},
            {"type": "step", "node_name": "n", "input_keys": ("a",)},
            {"type": "checkpoint", "name": "c", "data": {1}},
            {"type": "heartbeat"},
            {"type": "custom:found", "rank": 1},
            {"answer": 1},
        ],
        kind,
    )
    assert ended.own == [
        {"type": "token", "content": "Hel", "finish_reason": None},
        {"type": "progress", "step": "x", "progress": 1.0, "message": None},
        {"type": "token", "content": "lo", "finish_reason": "stop"},
        {"type": "step", "node_name": "n", "duration_ms": None, "input_keys": ["a"], "output_keys": []},
        {"type": "checkpoint", "name": "c", "data": [1]},
        {"type": "heartbeat"},
        {"type": "custom:found", "rank": 1},
    ]
    assert ended.output == {"answer": 1}


@both
async def test_filtered_tokens_still_make_the_output(kind: str) -> None:
    ended = await yielded(["a", TOKEN, {"type": "custom:x"}, "b"], kind, allowed=["custom:y"])
    assert ended.types == ["started", "complete"]
    assert ended.output == "ab"


MALFORMED: list[tuple[dict[Any, Any], list[str]]] = [
    ({"type": "token"}, ["token", "content"]),
    ({"type": "token", "content": 5}, ["token", "content", "int"]),
    ({"type": "token", "content": "a", "text": "b"}, ["token", "text"]),
    ({"type": "token", "content": "a", "sequence": 1}, ["token", "sequence"]),
    ({"type": "token", "content": "a", 5: 1}, ["token", "5"]),
    ({"type": "progress", "step": "s"}, ["progress"]),
    ({"type": "progress", "step": "s", "progress": "half"}, ["progress", "number"]),
    ({"type": "step"}, ["step", "node_name"]),
    ({"type": "checkpoint", "name": "c"}, ["checkpoint", "data"]),
    ({"type": "checkpoint", "name": "c", "data": object()}, ["checkpoint", "data", "object"]),
    ({"type": "heartbeat", "beat": 1}, ["heartbeat", "beat"]),
    ({"type": "custom:"}, ["custom"]),
    ({"type": "custom:no-dash"}, ["no-dash"]),
    ({"type": "custom:x", "run_id": "r"}, ["run_id"]),
    ({"type": "custom:x", "value": object()}, ["value", "object"]),
]


@both
@pytest.mark.parametrize(("event", "named"), MALFORMED, ids=lambda value: repr(value).partition(" at 0x")[0])
async def test_malformed_event_fails_the_run_with_the_reason(
    event: dict[Any, Any], named: list[str], kind: str
) -> None:
    ended = await yielded(["before", event, "after"], kind)
    assert ended.types == ["started", "token", "error"]
    assert ended.code == "AGENT_EXECUTION_ERROR"
    for word in named:
        assert word in ended.error


def cleaning(log: list[str], kind: str, *, stop_at: str = "") -> Callable[..., Any]:
    """Return a generator that records its clean-up, and may raise or wait."""

    def generator(_payload: Any, context: StreamContext) -> Any:
        try:
            yield "a"
            if stop_at == "raise":
                raise ValueError("midway")
            if stop_at == "wait":
                spin(context)
            yield "b"
        finally:
            log.append("cleaned")

    async def async_generator(_payload: Any) -> Any:
        try:
            yield "a"
            if stop_at == "raise":
                raise ValueError("midway")
            if stop_at == "wait":
                await asyncio.Event().wait()
            yield "b"
        finally:
            await asyncio.sleep(0)
            log.append("cleaned")

    return generator if kind == "sync" else async_generator


@both
async def test_clean_up_runs_before_the_run_is_over(kind: str) -> None:
    log: list[str] = []
    async with bench(cleaning(log, kind)) as made:
        assert (await made.run()).types[-1] == "complete"
        assert log == ["cleaned"]


@both
async def test_clean_up_runs_when_the_generator_raises(kind: str) -> None:
    log: list[str] = []
    ended = await ran(cleaning(log, kind, stop_at="raise"))
    assert ended.error == "ValueError: midway"
    assert ended.tokens == ["a"]
    assert log == ["cleaned"]


@both
async def test_clean_up_runs_when_the_run_is_cancelled(kind: str) -> None:
    log: list[str] = []
    ended = await cancelled(cleaning(log, kind, stop_at="wait"))
    assert ended.types == ["started", "token", "cancelled"]
    assert log == ["cleaned"]


@both
async def test_clean_up_runs_when_an_event_is_rejected(kind: str) -> None:
    log: list[str] = []

    def generator(_payload: Any) -> Any:
        try:
            yield {"type": "token"}
        finally:
            log.append("cleaned")

    async def async_generator(_payload: Any) -> Any:
        try:
            yield {"type": "token"}
        finally:
            await asyncio.sleep(0)
            log.append("cleaned")

    ended = await ran(generator if kind == "sync" else async_generator)
    assert ended.run.status == "failed"
    assert log == ["cleaned"]


@both
async def test_endless_generator_is_stopped_by_a_cancel_and_cleans_up(kind: str) -> None:
    log: list[str] = []

    def generator(_payload: Any) -> Any:
        try:
            while True:
                yield "x"
        finally:
            log.append("cleaned")

    async def async_generator(_payload: Any) -> Any:
        try:
            while True:
                yield "x"
        finally:
            await asyncio.sleep(0)
            log.append("cleaned")

    ended = await cancelled(generator if kind == "sync" else async_generator, after=1000)
    assert ended.types[-1] == "cancelled"
    assert log == ["cleaned"]


async def test_async_generator_may_emit_in_its_clean_up_when_cancelled() -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await context.emit_token("bye")

    assert (await cancelled(agent)).tokens == ["a", "bye"]


async def test_each_item_is_forwarded_before_the_next_is_produced() -> None:
    gate = threading.Event()

    def agent(_payload: Any) -> Any:
        yield "first"
        assert gate.wait(10)
        yield "second"

    async with bench(agent) as made:
        run_id = await made.start()
        await made.emitted(run_id, 2)
        gate.set()
        assert (await made.ended(run_id)).tokens == ["first", "second"]


async def test_generator_may_emit_through_its_context_between_yields() -> None:
    def agent(_payload: Any, context: StreamContext) -> Any:
        yield "1"
        context.sync_emit_token("2")
        yield "3"

    ended = await ran(agent)
    assert ended.tokens == ["1", "2", "3"]
    assert ended.output == "13"


async def test_generator_without_events_is_stopped_too() -> None:
    yielding, closed = threading.Event(), threading.Event()

    def agent(_payload: Any) -> Iterator[Any]:
        try:
            while True:
                yielding.set()
                yield {"n": 1}
        finally:
            closed.set()

    async with bench(agent) as made:
        run_id = await made.start()
        await wait_until(yielding.is_set)
        await made.runs.cancel(run_id, "enough")
        assert closed.is_set()


async def test_async_generator_without_events_yields_to_the_event_loop() -> None:
    async def agent(_payload: Any) -> AsyncIterator[Any]:
        while True:
            yield {"n": 1}

    async with bench(agent) as made:
        run_id = await made.start()
        await made.runs.cancel(run_id, "enough")
        assert (await made.backend.get(run_id)).status == "cancelled"
