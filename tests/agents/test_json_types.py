"""The conversion of JSON values to types, the violations that refuse them, and the schemas of types."""

import enum
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import jsonschema_rs
import msgspec
import pydantic
import pytest

from dockrion.agents.json_types import ConversionError, json_type
from dockrion.json_schema import MAX_LISTED_BYTES, Violation
from tests.agents.typed import Cat, Circle, Dog, Options, Order, Page, Point, Question


def converted(kind: Any, value: Any) -> Any:
    return json_type(kind).convert(value, size=0)


def violations(kind: Any, value: Any, size: int = 0) -> list[Violation]:
    with pytest.raises(ConversionError) as refused:
        json_type(kind).convert(value, size)
    return refused.value.violations


def paths(kind: Any, value: Any, size: int = 0) -> list[str]:
    return [each.path for each in violations(kind, value, size)]


class Color(enum.Enum):
    RED = "red"


class Size(NamedTuple):
    width: int
    height: int = 1


@dataclass
class Parcel:
    when: datetime
    places: list[Point] = field(default_factory=list)
    by_name: dict[str, Circle] = field(default_factory=dict)
    inner: "Parcel | None" = None
    pair: tuple[int, date] | None = None


class Leaf(msgspec.Struct, tag=True):
    color: Color


class Branch(msgspec.Struct, tag=True):
    parts: "list[Leaf | Branch]"


NOON = "2026-11-29T12:00:00Z"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Question, {"text": "hi", "unknown": 1}, Question("hi")),
        (Question, {"text": "hi", "since": NOON}, Question("hi", datetime(2026, 11, 29, 12, tzinfo=UTC))),
        (Point, {"x": 1}, Point(1)),
        (Circle, {"center": {"x": 1, "y": 2}, "radius": 3}, Circle(Point(1, 2), 3.0)),
        (Options, {"depth": 1}, {"depth": 1}),
        (Size, [4], Size(4)),
        (Color, "red", Color.RED),
        (bytes, "aGk=", b"hi"),
        (UUID, "0199a3c5-7d1e-7c3a-9f52-6b0d1c2e3f40", UUID("0199a3c5-7d1e-7c3a-9f52-6b0d1c2e3f40")),
        (Decimal, "1.50", Decimal("1.50")),
        (Decimal, 1.25, Decimal("1.25")),
        (set[str], ["a"], {"a"}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (list[Point], [{"x": 1}], [Point(1)]),
        (Page[Point], {"items": [{"x": 1}]}, Page([Point(1)])),
        (Cat | Dog, {"type": "Dog", "name": "Rex"}, Dog("Rex")),
        (Point | Circle, {"center": {"x": 1}, "radius": 2}, Circle(Point(1), 2.0)),
        (Point | Circle, {"x": 1}, Point(1)),
        (Point | None, None, None),
        (float, 1, 1.0),
        (int, 10**40, 10**40),
        (Order, {"itemName": "tea"}, Order(itemName="tea")),
        (list[Order], [{"itemName": "tea"}], [Order(itemName="tea")]),
        (Annotated[int, pydantic.Field(gt=0)], 10**40, 10**40),
    ],
    ids=str,
)
def test_values_are_converted(kind: Any, value: Any, expected: Any) -> None:
    result = converted(kind, value)
    assert result == expected
    assert type(result) is type(expected)


def test_strict_models_take_dates_from_text() -> None:
    class Strict(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True)

        when: datetime

    assert converted(Strict, {"when": NOON}).when == datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_dataclasses_with_parts_of_pydantic_are_validated_by_pydantic() -> None:
    @dataclass
    class Basket:
        orders: list[Order]
        count: Annotated[int, pydantic.Field(gt=0)] = 1

    basket = converted(Basket, {"orders": [{"itemName": "tea"}]})
    assert basket == Basket([Order(itemName="tea")])
    assert paths(Basket, {"orders": [], "count": 0}) == ["$.count"]


def test_dataclasses_of_pydantic_are_validated() -> None:
    @pydantic.dataclasses.dataclass
    class Basket:
        count: int = pydantic.Field(gt=0)

    assert paths(Basket, {"count": 0}) == ["$.count"]
    assert converted(Basket, {"count": 1}).count == 1


def test_every_violation_has_its_path() -> None:
    value = {
        "when": "noon",
        "places": [{"x": 1}, {"x": "1"}, {}],
        "by_name": {"home": {"center": {"x": 13, "y": 13}, "radius": 1}, "a b": {"radius": 2}},
        "inner": {"when": 5},
        "pair": [1, "yesterday"],
    }
    assert paths(Parcel, value) == [
        "$.when",
        "$.places[1].x",
        "$.places[2]",
        "$.by_name.home.center",
        "$.by_name.a b",
        "$.inner.when",
        "$.pair[1]",
    ]


def test_every_violation_of_pydantic_has_its_path() -> None:
    value = [{"itemName": ""}, {"itemName": "nothing", "due": "noon"}, {}, {"itemName": "tea", "more": 1}]
    assert violations(list[Order], value) == [
        Violation("$[0].itemName", "String should have at least 1 character"),
        Violation("$[1].itemName", "Value error, must be something"),
        Violation("$[1].due", "Input should be a valid datetime or date, input is too short"),
        Violation("$[2].itemName", "Field required"),
        Violation("$[3].more", "Extra inputs are not permitted"),
    ]


def test_members_of_unions_are_no_part_of_a_path() -> None:
    class Left(pydantic.BaseModel):
        x: int

    class Right(pydantic.BaseModel):
        y: list[int]

    found = paths(dict[str, Left | Right], {"a": {"x": "b", "y": ["c"]}})
    assert sorted(set(found)) == ["$.a.x", "$.a.y[0]"]


def test_messages_do_not_name_the_path_again() -> None:
    assert violations(Point, {"x": 13, "y": 13}) == [Violation("$", "13 is unlucky, see /etc/passwd")]
    assert violations(Question, {"text": "a", "since": "b"}) == [
        Violation("$.since", "Invalid RFC3339 encoded datetime")
    ]
    assert violations(dict[int, int], {"a": 1}) == [Violation("$", "Expected `int`, got `str`")]


def test_only_the_first_violation_of_a_large_value_is_found() -> None:
    assert paths(list[Point], [{}, {}], size=MAX_LISTED_BYTES + 1) == ["$[0]"]


def test_violations_are_found_at_any_depth() -> None:
    value: Any = {"text": "a", "since": "never"}
    for _ in range(200):
        value = {"text": "a", "related": [value]}
    [path] = paths(Question, value)
    assert path == "$" + ".related[0]" * 200 + ".since"


def test_only_the_first_of_many_violations_are_found() -> None:
    assert paths(list[int], ["x"] * 2000) == [f"$[{index}]" for index in range(1000)]


def test_many_violations_of_pydantic_are_only_counted() -> None:
    [violation] = violations(list[Order], [{"itemName": ""}] * 2000)
    assert violation == Violation("$", "2000 parts of it are invalid")


def test_what_validators_raise_besides_value_errors_is_raised() -> None:
    with pytest.raises(KeyError):
        converted(Point, {"x": 66})
    with pytest.raises(RuntimeError):
        converted(Order, {"itemName": "broken"})


def test_broken_validators_do_not_hide_other_violations() -> None:
    assert paths(list[Point], [{"x": 13, "y": 13}, {"x": 66}]) == ["$[0]"]


# Schemas.


def schema(kind: Any, role: Any = "input") -> dict[str, Any]:
    return json_type(kind).schema(role)


def test_root_is_the_definition_that_it_refers_to() -> None:
    for kind in (Question, Order, Circle):
        root = schema(kind)
        assert "$ref" not in root
        assert root["type"] == "object"
    assert "$defs" not in schema(Question)
    assert schema(Circle)["$defs"].keys() == {"Point"}


def test_recursive_types_refer_to_the_root() -> None:
    root = schema(Question)
    assert root["properties"]["related"]["items"] == {"$ref": "#"}
    validator = jsonschema_rs.validator_for(root)
    assert validator.is_valid({"text": "a", "related": [{"text": "b", "related": []}]})
    assert not validator.is_valid({"text": "a", "related": [{"text": "b", "related": [{}]}]})


def test_discriminators_refer_to_the_root_too() -> None:
    items = schema(Branch)["properties"]["parts"]["items"]
    assert items["discriminator"]["mapping"] == {"Branch": "#", "Leaf": "#/$defs/Leaf"}


def test_schemas_have_only_values_that_json_has() -> None:
    assert "default" not in schema(Order)["properties"]["price"]
    assert msgspec.json.decode(msgspec.json.encode(schema(Order))) == schema(Order)


def test_output_schema_of_a_model_describes_how_it_is_encoded() -> None:
    class Encoded(Order):
        secret: str = pydantic.Field("s", exclude=True)

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def length(self) -> int:
            return len(self.item_name)

    assert schema(Encoded)["properties"].keys() == {"itemName", "due", "price", "secret"}
    assert schema(Encoded, "output")["properties"].keys() == {"item_name", "due", "price", "length"}


def test_output_schema_has_aliases_if_the_model_is_encoded_with_them() -> None:
    class Aliased(Order):
        model_config = pydantic.ConfigDict(serialize_by_alias=True)

    assert "itemName" in schema(Aliased, "output")["properties"]


def test_invalid_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="regex"):
        schema(Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "("})])
