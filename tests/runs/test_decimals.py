"""Decimals in outputs, as numbers where the schema says so."""

import json
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion import json_encoding
from dockrion.runs.decimals import with_numbers

NUMBER = {"type": "number"}
PRICE = {"properties": {"price": NUMBER}}


@dataclass
class Item:
    price: Decimal


class Model(pydantic.BaseModel):
    price: Decimal


class Failing:
    def model_dump(self, **_options: Any) -> Any:
        return {"price": "1"}

    @property
    def price(self) -> Decimal:
        raise SystemExit


def converted(schema: dict[str, Any], output: Any) -> str:
    encoded = json_encoding.encode(output)
    return (with_numbers(schema, encoded, output) or encoded).decode()


@pytest.mark.parametrize(
    ("schema", "output", "expected"),
    [
        (NUMBER, Decimal("1.10"), "1.10"),
        (NUMBER, Decimal("-0.30000000000000000001"), "-0.30000000000000000001"),
        (NUMBER, Decimal("1E+2"), "1E+2"),
        ({"type": "integer"}, Decimal(12345678901234567890), "12345678901234567890"),
        ({"type": ["number", "null"]}, Decimal(1), "1"),
        ({"anyOf": [{"type": "null"}, NUMBER]}, Decimal(1), "1"),
        ({"allOf": [{"minimum": 0}, {"oneOf": [NUMBER]}]}, Decimal(1), "1"),
        ({"if": {}, "then": NUMBER}, Decimal(1), "1"),
        (PRICE, {"price": Decimal("1.5"), "other": Decimal("1.5")}, '{"price":1.5,"other":"1.5"}'),
        (PRICE, OrderedDict(price=Decimal("1.5")), '{"price":1.5}'),
        (PRICE, Item(Decimal("1.5")), '{"price":1.5}'),
        (PRICE, Model(price=Decimal("1.50")), '{"price":1.50}'),
        ({"properties": {"item": PRICE}}, {"item": Model(price=Decimal(1))}, '{"item":{"price":1}}'),
        ({"anyOf": [{"required": ["error"]}, PRICE]}, {"price": Decimal(1)}, '{"price":1}'),
        ({"additionalProperties": NUMBER}, {"a": Decimal(1), "b": "1"}, '{"a":1,"b":"1"}'),
        ({"items": PRICE}, [{"price": Decimal(1)}, Item(Decimal(2))], '[{"price":1},{"price":2}]'),
        ({"items": NUMBER}, (Decimal(1), "2", 3), '[1,"2",3]'),
        ({"prefixItems": [NUMBER, {}], "items": NUMBER}, [Decimal(1)] * 3, '[1,"1",1]'),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": PRICE}}, {"price": Decimal(1)}, '{"price":1}'),
        (
            {"properties": {"next": {"$ref": "#"}, "n": NUMBER}},
            {"n": Decimal(1), "next": {"n": Decimal(2), "next": {"n": Decimal(3)}}},
            '{"n":1,"next":{"n":2,"next":{"n":3}}}',
        ),
    ],
)
def test_decimals_are_numbers_where_the_schema_says_so(
    schema: dict[str, Any], output: Any, expected: str
) -> None:
    assert converted(schema, output) == expected


@pytest.mark.parametrize(
    ("schema", "output"),
    [
        ({}, Decimal(1)),
        ({"type": "string"}, Decimal(1)),
        ({"type": ["number", "string"]}, Decimal(1)),
        ({"anyOf": [NUMBER, {"type": "string"}]}, Decimal(1)),
        (NUMBER, "1"),
        (NUMBER, Decimal("NaN")),
        (NUMBER, Decimal("sNaN")),
        (NUMBER, Decimal("-Infinity")),
        (NUMBER, Decimal("1E+400")),
        (PRICE, {"price": "1"}),
        (PRICE, {"price": [Decimal(1)]}),
        (PRICE, Failing()),
        ({"$ref": "#/nowhere/at/all"}, Decimal(1)),
        ({"$ref": "#"}, Decimal(1)),
        ({"$ref": "other.json"}, Decimal(1)),
        ({"properties": {"price": False}, "items": True}, {"price": Decimal(1)}),
    ],
)
def test_everything_else_stays_as_it_is(schema: dict[str, Any], output: Any) -> None:
    assert with_numbers(schema, json_encoding.encode(output), output) is None


def test_redacted_text_is_not_restored() -> None:
    output = {"price": Decimal("1.5")}
    assert with_numbers(PRICE, b'{"price":"***"}', output) is None
    assert with_numbers(PRICE, b'"redacted"', output) is None
    assert with_numbers({"items": NUMBER}, b'["1"]', [Decimal(1), Decimal(2)]) is None


def test_outputs_that_are_nested_too_deeply_stay_as_they_are() -> None:
    output: Any = Decimal(1)
    for _ in range(3000):
        output = [output]
    schema = {"items": {"$ref": "#"}, "type": ["array", "number"]}
    assert with_numbers(schema, b"[" * 3000 + b'"1"' + b"]" * 3000, output) is None


_LARGEST = Decimal("1E+300")
_DECIMALS = st.decimals(-_LARGEST, _LARGEST, allow_nan=False)
_SCHEMA = {
    "type": ["number", "object", "array", "null"],
    "properties": {"text": {"type": ["string", "null"]}},
    "additionalProperties": {"$ref": "#"},
    "items": {"$ref": "#"},
}
_OUTPUTS = st.recursive(
    st.none() | _DECIMALS | st.integers(-(2**53), 2**53),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.fixed_dictionaries({"text": _DECIMALS}, optional={"a": inner, "b": inner})
    ),
    max_leaves=15,
)


def _plain(value: Any, *, text: bool = False) -> Any:
    if isinstance(value, Decimal) and text:
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(item, text=name == "text") for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=100)
@given(output=_OUTPUTS)
def test_converted_outputs_are_valid_and_keep_every_digit(output: Any) -> None:
    text = converted(_SCHEMA, output)
    assert jsonschema_rs.is_valid(_SCHEMA, json.loads(text))
    assert json.loads(text, parse_float=Decimal) == _plain(output)
