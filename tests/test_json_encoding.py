"""JSON encoding of agents' values: conversions, and the errors for values that have none."""

import enum
from collections import OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from unittest.mock import MagicMock, Mock
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from dockrion.json_encoding import NotJSON, encode


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Raw(bytes):
    pass


class Moment(datetime):
    """A datetime subclass, as pandas, pendulum and freezegun have."""


class Day(date):
    pass


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Kind(enum.StrEnum):
    A = "a"


@dataclass
class Point:
    x: int
    when: datetime


@dataclass(frozen=True, slots=True)
class Frozen:
    inner: Point


class Inner(BaseModel):
    tags: set[str]


class Model(BaseModel):
    name: str
    when: datetime
    inner: Inner


class Struct(msgspec.Struct):
    a: int


class HumanMessage:
    """A class with `model_dump`, like a LangChain message."""

    def __init__(self, content: str) -> None:
        self.content = content

    def model_dump(self) -> dict[str, Any]:
        return {"content": self.content, "type": "human", "id": None, "additional_kwargs": {}}


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  the untyped form is what agents have
WHEN = datetime(2026, 1, 2, 3, 4, 5, 600000, UTC)
WHEN_TEXT = "2026-01-02T03:04:05.600000Z"

VALUES: dict[str, tuple[Any, Any]] = {
    "datetime": (WHEN, WHEN_TEXT),
    "naive datetime": (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),  # noqa: DTZ001
    "date": (date(2026, 1, 2), "2026-01-02"),
    "time": (time(1, 2, 3), "01:02:03"),
    "timedelta": (timedelta(seconds=90), "PT90S"),
    "subclass of datetime": (Moment(2026, 1, 2, 3, 4, 5, 600000, UTC), None),
    "subclass of date": (Day(2026, 1, 2), "2026-01-02"),
    "dataclass": (Point(1, WHEN), {"x": 1, "when": WHEN_TEXT}),
    "nested dataclass with slots": (Frozen(Point(1, WHEN)), {"inner": {"x": 1, "when": WHEN_TEXT}}),
    "pydantic model": (
        Model(name="n", when=WHEN, inner=Inner(tags={"t"})),
        {"name": "n", "when": WHEN_TEXT, "inner": {"tags": ["t"]}},
    ),
    "msgspec struct": (Struct(1), {"a": 1}),
    "set": ({"a"}, ["a"]),
    "frozenset": (frozenset({1}), [1]),
    "bytes": (b"ab\xff", "YWL/"),
    "bytearray": (bytearray(b"ab\xff"), "YWL/"),
    "subclass of bytes": (Raw(b"ab\xff"), "YWL/"),
    "numpy integer": (np.int64(5), 5),
    "numpy float": (np.float32(0.5), 0.5),
    "numpy float64, a float": (np.float64(0.5), 0.5),
    "numpy bool": (np.bool_(True), True),
    "numpy text": (np.str_("a"), "a"),
    "numpy datetime": (np.datetime64("2026-01-02"), "2026-01-02"),
    "numpy array": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "numpy array without dimensions": (np.array(1.5), 1.5),
    "LangChain message": (
        HumanMessage("hi"),
        {"content": "hi", "type": "human", "id": None, "additional_kwargs": {}},
    ),
    "subclass of str": (Text("a"), "a"),
    "subclass of int": (Whole(5), 5),
    "subclass of float": (Real(0.5), 0.5),
    "enum": (Color.RED, "red"),
    "int enum": (Level.HIGH, 3),
    "str enum": (Kind.A, "a"),
    "Decimal": (Decimal("1.10"), "1.10"),
    "UUID": (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "Path": (Path("a/b"), "a/b"),
    "pure path": (PurePosixPath("/a"), "/a"),
    "tuple": ((1, "a"), [1, "a"]),
    "named tuple": (Pair(1, 2), [1, 2]),
    "deque": (deque([1, 2]), [1, 2]),
    "range": (range(3), [0, 1, 2]),
    "keys": ({"a": 1}.keys(), ["a"]),
    "values": ({"a": 1}.values(), [1]),
    "OrderedDict": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "defaultdict": (defaultdict(int, a=1), {"a": 1}),
    "UserDict": (UserDict(a=1), {"a": 1}),
    "mapping proxy": (MappingProxyType({"a": 1}), {"a": 1}),
    "int keys": ({1: "a"}, {"1": "a"}),
    "str enum key": ({Kind.A: 1}, {"a": 1}),
    "key of a subclass of str": ({Text("a"): 1}, {"a": 1}),
    "large integer": (10**30, 10**30),
    "None": (None, None),
    "Raw JSON": (msgspec.Raw(b'{"a": 1}'), {"a": 1}),
}


@pytest.mark.parametrize(("value", "expected"), VALUES.values(), ids=VALUES.keys())
def test_a_value_is_converted(value: Any, expected: Any) -> None:
    found = msgspec.json.decode(encode(value))
    if isinstance(value, Moment):  # any ISO form of it will do
        found, expected = datetime.fromisoformat(found), value
    assert found == expected


@pytest.mark.parametrize(("value", "_expected"), VALUES.values(), ids=VALUES.keys())
def test_a_nested_value_is_converted_likewise(value: Any, _expected: Any) -> None:
    alone = encode(value)
    assert encode({"a": [{"b": value}]}) == b'{"a":[{"b":' + alone + b"}]}"


def test_key_order_is_kept() -> None:
    assert encode({"z": 1, "a": 2, "m": 3}) == b'{"z":1,"a":2,"m":3}'


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def model_dump(self) -> Any:
        raise self.error


class Endless:
    def model_dump(self) -> Any:
        return self


def iter_nothing() -> Iterator[int]:
    yield from ()


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


def nested(depth: int, inner: Any = 1) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


FAILURES: dict[str, tuple[Any, str]] = {
    "object": ({"a": [1, object()]}, r"^data\.a\[1\] cannot be JSON: object has no JSON form$"),
    "function": ({"f": print}, r"^data\.f "),
    "class": ({"c": int}, r"^data\.c "),
    "generator": (iter_nothing(), r"^data cannot be JSON: generator"),
    "module": ({"m": enum}, r"^data\.m "),
    "surrogate": ({"a": ["x", "\ud800"]}, r"^data\.a\[1\] .*not valid Unicode"),
    "surrogate in a key": ({"a": {"\ud800": 1}}, r"^data\.a .*not valid Unicode"),
    "tuple key": ({"a": {(1, 2): 3}}, r"^data\.a.* cannot be JSON: (?!.*nested too deeply)"),
    "None key": ({"a": {None: 3}}, r"^data\.a.* cannot be JSON"),
    "cycle": ({"a": cycle()}, r"^data\.a.*nested too deeply, or contains itself"),
    "model_dump that raises": ({"m": Raises(ValueError("broken"))}, r"^data\.m cannot be JSON: broken$"),
    "model_dump that raises nothing to read": ({"m": Raises(KeyError())}, r"^data\.m .*KeyError"),
    "model_dump whose error has no text": ({"m": Raises(Silent())}, r"^data\.m cannot be JSON"),
    "model_dump that exits": ({"m": Raises(SystemExit(3))}, r"^data\.m cannot be JSON"),
    "model_dump that returns itself": ({"m": Endless()}, r"^data\.m .*nested too deeply"),
    "key without text": ({"a": {Unspeakable(): 1}}, r"^data\.a.* cannot be JSON"),
    "an object behind a deep valid part": ({"a": nested(100), "b": object()}, r"^data\.b cannot"),
    "an object in a model": ({"p": Point(1, object())}, r"^data\.p"),  # type: ignore[arg-type]
    "an object in a set": ({"s": {object()}}, r"^data\.s"),
}


@pytest.mark.parametrize(("value", "message"), FAILURES.values(), ids=FAILURES.keys())
def test_an_error_names_the_path_of_the_value(value: Any, message: str) -> None:
    # SystemExit would end pytest's loop too, so that whatever comes out is caught here.
    try:
        encode(value, "data")
    except BaseException as error:
        caught: BaseException | None = error
    else:
        caught = None
    assert isinstance(caught, NotJSON)
    with pytest.raises(NotJSON, match=message):
        raise caught


def test_an_error_names_the_path_of_huge_nesting() -> None:
    test_an_error_names_the_path_of_the_value(nested(200_000), r"^data.*nested too deeply")


def test_the_error_has_path_and_reason() -> None:
    with pytest.raises(NotJSON) as caught:
        encode([object()], "output")
    assert (caught.value.path, caught.value.reason) == ("output[0]", "object has no JSON form")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=100)
@given(json_values)
def test_json_values_round_trip(value: Any) -> None:
    data = encode(value)
    assert b"\n" not in data
    assert msgspec.json.decode(data) == value


@settings(max_examples=100)
@given(json_values, st.sampled_from([object(), "\udfff", Raises(ValueError("x"))]))
def test_an_error_names_the_invalid_part_beside_any_valid_one(valid: Any, impossible: Any) -> None:
    with pytest.raises(NotJSON, match=r"^value\[1\]\.x cannot be JSON"):
        encode([valid, {"a": valid, "x": impossible}])


def test_a_mock_is_encoded_or_rejected_quickly() -> None:
    with pytest.raises(NotJSON, match=r"^data\.a cannot"):
        encode({"a": Mock()}, "data")
    assert encode({"a": MagicMock()}, "data") == b'{"a":[]}'


def test_raw_json_is_encoded_on_one_line() -> None:
    raw = msgspec.Raw(b'{"a":\n 1}\r\n')
    assert encode({"data": raw}) == b'{"data":{"a":1}}'
