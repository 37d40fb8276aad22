"""Values that agents emit: clamped, converted, or refused by name."""

import asyncio
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import pathlib
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pydantic
import pytest

from dockrion import StreamContext
from tests.agents.harness import ran


def _id(value: Any) -> str:
    """Return the same name for a case in every process, so without an object's address."""
    return type(value).__name__ if " at 0x" in repr(value) else ascii(value)[:24].replace("\\", "")


TWO_HOURS = dt.timezone(dt.timedelta(hours=2))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (-0.1, 0.0),
        (-1e300, 0.0),
        (float("-inf"), 0.0),
        (0, 0.0),
        (0.25, 0.25),
        (1, 1.0),
        (2, 1.0),
        (1.0000001, 1.0),
        (float("inf"), 1.0),
        (10**400, 1.0),
        (-(10**400), 0.0),
        (float("nan"), 0.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(7), 1.0),
        (np.float64("nan"), 0.0),
        (np.array(0.75), 0.75),
        (decimal.Decimal("0.5"), 0.5),
    ],
    ids=_id,
)
async def test_progress_is_clamped_to_a_float_from_0_to_1(given: Any, expected: float) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_progress("s", given)
        context.sync_emit_progress("s", given)

    ended = await ran(agent)
    assert [event["progress"] for event in ended.own] == [expected, expected]
    assert all(type(event["progress"]) is float for event in ended.own)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    when: dt.date


class Message(pydantic.BaseModel):
    content: str
    at: dt.datetime | None = None
    tags: set[str] = set()


class Link(pydantic.BaseModel):
    url: pydantic.HttpUrl


class Host(pydantic.BaseModel):
    address: ipaddress.IPv4Address


class ChatMessage:
    """As LangChain's messages: `model_dump` is all that is known of it."""

    def model_dump(self, **_options: Any) -> dict[str, Any]:
        return {"type": "ai", "content": "hello"}


class Named(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return {"a": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter("a")

    def __len__(self) -> int:
        return 1


class Text(str):
    __slots__ = ()


Pair = collections.namedtuple("Pair", "left right")  # noqa: PYI024  the untyped one too

CONVERTED: list[tuple[Any, Any]] = [
    (None, None),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05Z"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=TWO_HOURS), "2026-01-02T03:04:05.000006+02:00"),
    (dt.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),  # noqa: DTZ001
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.time(3, 4), "03:04:00"),
    (dt.timedelta(seconds=90), "PT90S"),
    (Point(1, dt.date(2026, 1, 2)), {"x": 1, "when": "2026-01-02"}),
    (Message(content="c"), {"content": "c", "at": None, "tags": []}),
    (
        [Message(content="c", at=dt.datetime(2026, 1, 2, tzinfo=dt.UTC), tags={"t"})],
        [{"content": "c", "at": "2026-01-02T00:00:00Z", "tags": ["t"]}],
    ),
    (Link.model_validate({"url": "http://a.example/b"}), {"url": "http://a.example/b"}),
    (Host.model_validate({"address": "10.0.0.1"}), {"address": "10.0.0.1"}),
    ({"messages": [ChatMessage()]}, {"messages": [{"type": "ai", "content": "hello"}]}),
    ({1}, [1]),
    (frozenset({"a"}), ["a"]),
    ((1, (2,)), [1, [2]]),
    (b"\x00\xff", "AP8="),
    (bytearray(b"a"), "YQ=="),
    (decimal.Decimal("1.50"), "1.50"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Colour.RED, "red"),
    (Pair(1, 2), [1, 2]),
    (collections.deque([1, 2]), [1, 2]),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    (range(3), [0, 1, 2]),
    ({"a": 1}.keys(), ["a"]),
    (Named(), {"a": 1}),
    (Text("t"), "t"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    ({1: "int key"}, {"1": "int key"}),
    (2**70, 2**70),
    (float("nan"), None),
    (float("inf"), None),
    (np.float32(0.5), 0.5),
    (np.int64(3), 3),
    (np.bool_(True), True),
    (np.str_("s"), "s"),
    (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
    ({"scores": [np.float64(0.25)]}, {"scores": [0.25]}),
    ("\u2028 </script>\x00 ☃ 😀", "\u2028 </script>\x00 ☃ 😀"),
]


@pytest.mark.parametrize(("given", "expected"), CONVERTED, ids=_id)
async def test_value_is_converted_in_checkpoint_custom_event_and_output(given: Any, expected: Any) -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        await context.checkpoint("c", given)
        await context.emit("e", value=given)
        await asyncio.to_thread(context.sync_checkpoint, "c", given)
        context.sync_emit("e", {"value": given})
        return given

    ended = await ran(agent)
    assert [event.get("data", event.get("value")) for event in ended.own] == [expected] * 4
    assert ended.output == expected


async def test_converted_values_keep_their_types_as_json() -> None:
    def agent(_payload: Any) -> Any:
        return [np.bool_(1), np.int64(1), np.float64(1), True, 1, 1.0]

    assert [type(value) for value in (await ran(agent)).output] == [bool, int, float, bool, int, float]


class Unspeakable:
    def model_dump(self) -> None:
        raise RuntimeError("the database session is closed")


ITSELF: list[Any] = []
ITSELF.append(ITSELF)

REFUSED: list[tuple[Any, str, str]] = [
    (object(), "", "object has no JSON form"),
    (lambda: None, "", "function has no JSON form"),
    (1j, "", "complex has no JSON form"),
    (iter([1]), "", "list_iterator has no JSON form"),
    (ValueError("x"), "", "ValueError has no JSON form"),
    ({"a": [1, {"b": object()}]}, ".a[1].b", "object has no JSON form"),
    ((0, object()), "[1]", "object has no JSON form"),
    ("\ud800", "", "not valid Unicode"),
    ({"k": "\ud800"}, ".k", "not valid Unicode"),
    ({"m": Unspeakable()}, ".m", "the database session is closed"),
    (np.array([object()]), "", "object has no JSON form"),
    ({(1, 2): 3}, "", "key"),
]


@pytest.mark.parametrize(("given", "path", "reason"), REFUSED, ids=_id)
async def test_value_without_json_form_raises_at_the_emit_and_is_named_by_its_path(
    given: Any, path: str, reason: str
) -> None:
    async def agent(_payload: Any, context: StreamContext) -> list[str]:
        errors = []
        emits: list[Callable[[], Awaitable[None]]] = [
            lambda: context.checkpoint("c", given),
            lambda: context.emit("e", value=given),
            lambda: context.emit("e", {"value": given}),
            lambda: asyncio.to_thread(context.sync_checkpoint, "c", given),
            lambda: asyncio.to_thread(context.sync_emit, "e", {"value": given}),
        ]
        for emit in emits:
            with pytest.raises(TypeError) as raised:
                await emit()
            errors.append(str(raised.value))
            await context.emit_token("x")
        return errors

    ended = await ran(agent)
    names = ["data", "value", "value", "data", "value"]
    for error, name in zip(ended.output, names, strict=True):
        assert error.startswith(f"{name}{path} cannot be JSON: ")
        assert reason in error
    # What could not be encoded took no number: `check_promises` saw them contiguous.
    assert ended.types == ["started", *["token"] * 5, "complete"]


async def test_a_value_that_contains_itself_is_refused() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.checkpoint("c", ITSELF)

    assert "contains itself" in (await ran(agent)).error


MISTYPED: list[tuple[str, Callable[[Any], Any]]] = [
    ("content", lambda context: context.sync_emit_token(1)),
    ("content", lambda context: context.sync_emit_token(None)),
    ("content", lambda context: context.sync_emit_token(b"bytes")),
    ("content", lambda context: context.sync_emit_token("\ud800")),
    ("finish_reason", lambda context: context.sync_emit_token("a", 1)),
    ("step", lambda context: context.sync_emit_progress(1, 0.5)),
    ("step", lambda context: context.sync_emit_progress("\ud800", 0.5)),
    ("progress", lambda context: context.sync_emit_progress("s", "half")),
    ("progress", lambda context: context.sync_emit_progress("s", None)),
    ("progress", lambda context: context.sync_emit_progress("s", [1])),
    ("message", lambda context: context.sync_emit_progress("s", 0.5, 5)),
    ("node_name", lambda context: context.sync_emit_step(None)),
    ("duration_ms", lambda context: context.sync_emit_step("n", "long")),
    ("input_keys", lambda context: context.sync_emit_step("n", 1, [1])),
    ("output_keys", lambda context: context.sync_emit_step("n", 1, None, ["\ud800"])),
    ("name", lambda context: context.sync_checkpoint(1, {})),
    ("name", lambda context: context.sync_checkpoint("\ud800", {})),
]


@pytest.mark.parametrize(("name", "emit"), MISTYPED)
async def test_mistyped_field_raises_in_the_agent_and_is_named(name: str, emit: Callable[[Any], Any]) -> None:
    def agent(_payload: Any, context: StreamContext) -> str:
        try:
            emit(context)
        except (TypeError, ValueError) as error:
            context.sync_emit_token("went on")
            return str(error)
        return "accepted"

    ended = await ran(agent)
    assert ended.output.startswith(name)
    assert ended.types == ["started", "token", "complete"]


async def test_input_keys_given_as_one_string_are_refused() -> None:
    def agent(_payload: Any, context: Any) -> None:
        context.sync_emit_step("n", 1, "question")

    assert "input_keys" in (await ran(agent)).error


@pytest.mark.parametrize(
    ("given", "decoded"),
    [
        *[(12, 12), (12.0, 12), (np.float64(12), 12), (decimal.Decimal("12.0"), 12), (True, 1), (-0.0, 0)],
        *[(12.5, 12.5), (2**53 - 1, 2**53 - 1), (1e300, 1e300)],
        *[(10**400, None), (float("nan"), None), (None, None)],
    ],
)
async def test_whole_duration_is_written_as_an_integer(given: Any, decoded: float | None) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_step("n", given)

    duration = (await ran(agent)).own[0]["duration_ms"]
    assert (duration, type(duration)) == (decoded, type(decoded))


@pytest.mark.parametrize("keys", [{}, {"input_keys": None, "output_keys": None}, {"input_keys": ()}])
async def test_step_without_keys_has_empty_lists(keys: dict[str, Any]) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_step("n", **keys)

    async def generator(_payload: Any) -> Any:
        yield {"type": "step", "node_name": "n", **keys}

    for each in (agent, generator):
        step = (await ran(each)).own[0]
        assert (step["input_keys"], step["output_keys"]) == ([], [])
