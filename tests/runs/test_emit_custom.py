"""Custom events, filtered events, and the events that are not the agent's."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from dockrion import StreamContext
from tests.agents.harness import bench, ran

GIVEN: list[tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]] = [
    ((), {}, {}),
    ((None,), {}, {}),
    (({},), {}, {}),
    (({"a": 1},), {}, {"a": 1}),
    ((MappingProxyType({"a": 1}),), {}, {"a": 1}),
    ((), {"a": 1}, {"a": 1}),
    (({"a": 1},), {"b": 2}, {"a": 1, "b": 2}),
    (({"a": 1},), {"a": 2}, {"a": 2}),
    (([1, 2],), {}, {"data": [1, 2]}),
    (("text",), {"a": 1}, {"data": "text", "a": 1}),
    ((0,), {}, {"data": 0}),
    ((), {"data": {"a": 1}}, {"a": 1}),
    ((), {"data": {"a": 1}, "b": 2}, {"a": 1, "b": 2}),
    ((), {"data": [1, 2], "a": 1}, {"data": [1, 2], "a": 1}),
    ((), {"data": None}, {}),
    (({"data": {"a": 1}, "event_type": 2},), {}, {"data": {"a": 1}, "event_type": 2}),
    ((), {"self": 2, "name": 3, "build": 4}, {"self": 2, "name": 3, "build": 4}),
    (({"content": 1, "agent_name": 2},), {}, {"content": 1, "agent_name": 2}),
]


@pytest.mark.parametrize("name", ["custom:found", "found"])
@pytest.mark.parametrize(("data", "fields", "expected"), GIVEN)
async def test_custom_event_has_the_fields_given(
    name: str, data: tuple[Any, ...], fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit(name, *data, **fields)
        context.sync_emit(name, *data, **fields)
        by_keyword = dict(zip(("data",), data, strict=False)) | fields
        await context.emit(event_type=name, **by_keyword)
        context.sync_emit(event_type=name, **by_keyword)

    assert (await ran(agent)).own == [{"type": "custom:found", **expected}] * 4


@pytest.mark.parametrize("name", ["_", "a", "A9_z", "token", "complete", "custom"])
async def test_any_identifier_is_a_custom_name(name: str) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit(name)

    assert (await ran(agent)).types == ["started", f"custom:{name}", "complete"]


BAD_NAMES = ["", "custom:", "9a", "a-b", "a b", "a.b", "é", "a\n", "custom:custom:a", "Custom:a", "a:b"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("allowed", ["all", "minimal"])
async def test_bad_custom_name_raises_in_the_agent_filtered_or_not(name: str, allowed: str) -> None:
    async def agent(_payload: Any, context: StreamContext) -> int:
        for emit in (context.emit, context.sync_emit):
            with pytest.raises(ValueError, match="custom event name"):
                await emit(name)  # type: ignore[misc]
        await context.emit("fine")
        return 1

    ended = await ran(agent, allowed=allowed)
    assert ended.output == 1
    assert ended.types == ["started", *(["custom:fine"] if allowed == "all" else []), "complete"]


@pytest.mark.parametrize("name", [None, 5, b"found"])
async def test_custom_name_that_is_not_a_string_is_refused_with_a_clear_message(name: Any) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit(name)

    assert "event" in (await ran(agent)).error.partition(":")[2].replace("event_type", "event")


@pytest.mark.parametrize("field", ["id", "type", "run_id", "sequence", "timestamp"])
@pytest.mark.parametrize("way", ["mapping", "keyword", "both"])
async def test_field_that_would_hide_a_common_one_raises_and_is_named(field: str, way: str) -> None:
    data = {"ok": 1} | ({field: 1} if way == "mapping" else {})
    fields = {} if way == "mapping" else {field: 1}

    async def agent(_payload: Any, context: StreamContext) -> list[str]:
        errors = []
        for emit in (context.emit, context.sync_emit):
            with pytest.raises(ValueError, match=repr(field)) as raised:
                await emit("x", data, **fields)  # type: ignore[misc]
            errors.append(str(raised.value))
        await context.emit("x", fine=1)
        return errors

    ended = await ran(agent)
    assert all(repr(field) in error for error in ended.output)
    assert ended.own == [{"type": "custom:x", "fine": 1}]


@pytest.mark.parametrize("key", [1, None, ("a",)], ids=str)
async def test_custom_field_name_that_is_not_a_string_is_refused(key: Any) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit("x", {key: 1})

    assert f"field name {key!r}" in (await ran(agent)).error


class Costly:
    """Fails the test if anything looks at it."""

    def model_dump(self) -> None:
        raise AssertionError("converted")

    __str__ = __iter__ = __float__ = __len__ = model_dump  # type: ignore[assignment]


FILTERED: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("progress", lambda context, value: context.sync_emit_progress(value, value, value)),
    ("token", lambda context, value: context.sync_emit_token(value, value)),
    ("step", lambda context, value: context.sync_emit_step(value, value, value, value)),
    ("checkpoint", lambda context, value: context.sync_checkpoint(value, value)),
    ("custom:x", lambda context, value: context.sync_emit("x", value)),
    ("custom:x", lambda context, value: context.sync_emit("x", {"id": value})),
    ("custom:x", lambda context, value: context.sync_emit("x", a=value)),
    ("heartbeat", lambda context, _: context.sync_emit_heartbeat()),
]
ALL = {"progress", "token", "step", "checkpoint", "custom:y", "heartbeat"}


@pytest.mark.parametrize(("event_type", "emit"), FILTERED)
async def test_filtered_event_is_not_converted_and_takes_no_number(
    event_type: str, emit: Callable[[Any, Any], Any]
) -> None:
    def agent(_payload: Any, context: StreamContext) -> None:
        emit(context, Costly())

    ended = await ran(agent, allowed=sorted(ALL - {event_type}))
    assert ended.types == ["started", "complete"]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "checkpoint", "name": "n", "data": Costly()},
        {"type": "custom:x", "value": Costly()},
        {"type": "progress", "step": "s", "progress": Costly()},
    ],
    ids=lambda event: event["type"],
)
async def test_filtered_event_that_is_yielded_is_not_converted(event: dict[str, Any]) -> None:
    def generator(_payload: Any) -> Any:
        yield event

    async def async_generator(_payload: Any) -> Any:
        yield event

    for agent in (generator, async_generator):
        assert (await ran(agent, allowed="minimal")).types == ["started", "complete"]


@pytest.mark.parametrize(
    ("allowed", "passed"),
    [
        (None, ["token", "progress", "step", "checkpoint", "heartbeat", "custom:a", "custom:b"]),
        ("all", ["token", "progress", "step", "checkpoint", "heartbeat", "custom:a", "custom:b"]),
        ("debug", ["token", "progress", "step", "checkpoint", "heartbeat"]),
        ("chat", ["token"]),
        ("minimal", []),
        ([], []),
        (["custom"], ["custom:a", "custom:b"]),
        (["custom:b", "step"], ["step", "custom:b"]),
        (["started", "complete"], []),
    ],
    ids=str,
)
async def test_only_allowed_events_pass_and_they_are_numbered_without_a_gap(
    allowed: Any, passed: list[str]
) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("t")
        await context.emit_progress("s", 0.1)
        await context.emit_step("n")
        await context.checkpoint("c", 1)
        await context.emit_heartbeat()
        await context.emit("a")
        await context.emit("b")

    assert (await ran(agent, allowed=allowed)).types == ["started", *passed, "complete"]


OWN = ["started", "complete", "error", "cancelled"]


@pytest.mark.parametrize("name", OWN)
async def test_the_services_own_events_are_refused_and_the_promises_hold(name: str) -> None:
    async def agent(_payload: Any, context: StreamContext) -> str:
        emit = getattr(context, f"emit_{name}")
        for arguments in ((), ("a",), ("a", "b")):
            with pytest.raises(RuntimeError, match=f"`{name}`"):
                await emit(*arguments)
        with pytest.raises(RuntimeError, match=f"`{name}`") as raised:
            await emit(output={}, error="e", reason="r")
        await context.emit_token("went on")
        return str(raised.value)

    ended = await ran(agent)
    assert "service" in ended.output
    assert ended.types == ["started", "token", "complete"]


@pytest.mark.parametrize("name", OWN)
async def test_a_refused_event_that_is_not_caught_fails_the_run_with_one_terminal_event(name: str) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await getattr(context, f"emit_{name}")()

    ended = await ran(agent)
    assert ended.types == ["started", "error"]
    assert f"`{name}`" in ended.error


async def test_without_a_run_nothing_is_emitted_and_nothing_is_converted() -> None:
    async def agent(_payload: Any, context: StreamContext) -> str:
        for _, emit in FILTERED:
            emit(context, Costly())
            await context.emit_token("t")
        return context.run_id

    async with bench(agent) as made:
        assert await made.invoke()
        assert (await made.backend.recent(status=None, limit=10, cursor=None)).items == []
