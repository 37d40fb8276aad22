"""The schema of a type and the conversion to it agree, for random types and values.

The law, for a type T, its schemas and a JSON value v:

1. What T's input schema accepts converts to T, if T has no formats and validators of its own, which a
   schema cannot state, and no integer in v is written as a fraction (`1.0`): to a schema it is an integer.
2. What converts, T's input schema accepts, if T is msgspec's. (pydantic also takes numbers in text, for
   example; whoever asks the schema first never sends it such.)
3. What was converted is encoded as JSON that T's output schema accepts, and that converts to an equal value.
4. A refusal has a violation, and each one's path leads to a part of v, or to one that is missing.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import jsonschema_rs
import msgspec
import pydantic
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion import json_encoding
from dockrion.agents.json_types import ConversionError, JsonType, json_type
from dockrion.json_schema import Violation

NAMES = ["one", "two", "three"]
STEP = re.compile(r"(\.\w+|\[\d+])$")  # the last one of a path
numbers = itertools.count()  # definitions in a schema are named after their classes


class Family(NamedTuple):
    """A type, and JSON values that convert to it."""

    kind: Any
    values: st.SearchStrategy[Any]


Families = st.SearchStrategy[Family]
texts = st.text("abé ", max_size=3)
integers = st.integers(-9, 9)
fractions = st.floats(-9, 9).filter(lambda number: not number.is_integer())
scalars = st.sampled_from(
    [
        Family(int, integers),
        Family(str, texts),
        Family(bool, st.booleans()),
        Family(float, fractions | integers),
        Family(Literal["a", "b"], st.sampled_from("ab")),
        Family(str | None, st.none() | texts),
        Family(int | str, integers | texts),
        Family(Any, st.none() | texts),
    ]
)
constrained = st.sampled_from(
    [
        Family(Annotated[int, msgspec.Meta(ge=0, le=5)], st.integers(0, 5)),
        Family(Annotated[str, msgspec.Meta(min_length=1, pattern="^a")], st.sampled_from(["a", "ab"])),
        Family(Annotated[list[int], msgspec.Meta(max_length=2)], st.lists(integers, max_size=2)),
    ]
)
constrained_by_pydantic = st.sampled_from(
    [
        Family(Annotated[int, pydantic.Field(ge=0, le=5)], st.integers(0, 5)),
        Family(Annotated[str, pydantic.Field(min_length=1, pattern="^a")], st.sampled_from(["a", "ab"])),
    ]
)


def lists(of: Family) -> Family:
    kind = of.kind
    return Family(list[kind], st.lists(of.values, max_size=2))  # type: ignore[valid-type]


def mappings(of: Family) -> Family:
    kind = of.kind
    names = st.sampled_from(NAMES)
    return Family(dict[str, kind], st.dictionaries(names, of.values, max_size=2))  # type: ignore[valid-type]


def pairs(of: tuple[Family, Family]) -> Family:
    kinds = tuple(each.kind for each in of)
    return Family(tuple[kinds], st.tuples(*(each.values for each in of)).map(list))  # type: ignore[valid-type]


def structs(of: list[Family]) -> Family:
    fields, values = objects(of, str.upper)
    return Family(
        msgspec.defstruct(f"S{next(numbers)}", fields, rename=str.upper, forbid_unknown_fields=True), values
    )


def data_classes(of: list[Family]) -> Family:
    fields, values = objects(of, str)
    return Family(dataclasses.make_dataclass(f"D{next(numbers)}", fields), values)


def typed_dicts(of: list[Family]) -> Family:
    fields, values = objects(of, str)
    (name, kind), *optional = fields
    kinds = {name: kind} | {name: NotRequired[kind] for name, kind, _ in optional}
    return Family(TypedDict(f"T{next(numbers)}", kinds), values)  # type: ignore[operator]


def models(of: list[Family]) -> Family:
    fields, values = objects(of, str.upper)
    described = {
        name: (kind, pydantic.Field(*default, alias=name.upper(), validate_default=False))
        for name, kind, *default in fields
    }
    config = pydantic.ConfigDict(extra="forbid")
    return Family(pydantic.create_model(f"M{next(numbers)}", __config__=config, **described), values)  # type: ignore[call-overload]


def objects(of: list[Family], rename: Callable[[str], str]) -> tuple[list[Any], st.SearchStrategy[Any]]:
    """Return fields, optional but for the first, and JSON objects with them."""
    first, *others = zip(map(rename, NAMES), of, strict=False)
    fields = [(name, each.kind) for name, each in zip(NAMES[:1], of, strict=False)]
    optional = [(name, each.kind | None, None) for name, each in zip(NAMES[1:], of[1:], strict=False)]
    values = st.fixed_dictionaries(
        {first[0]: first[1].values}, optional={name: each.values for name, each in others}
    )
    return [*fields, *optional], values


def families(leaves: Families, *of_fields: Callable[[list[Family]], Family]) -> Families:
    def extend(inner: Families) -> Families:
        fields = st.lists(inner, min_size=1, max_size=3)
        composed = [fields.map(make) for make in of_fields]
        return st.one_of(*composed, inner.map(lists), inner.map(mappings), st.tuples(inner, inner).map(pairs))

    return st.recursive(leaves, extend, max_leaves=5)


of_msgspec = families(scalars | constrained, structs, data_classes, typed_dicts)
of_pydantic = families(scalars | constrained_by_pydantic, models)
anything = st.recursive(
    st.none() | st.booleans() | integers | fractions | texts,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([*NAMES, *map(str.upper, NAMES)]), inner, max_size=3)
    ),
    max_leaves=4,
)


def changed(value: Any, replacement: Any, position: int) -> Any:
    """Return a value in which a part is replaced, the one at a position among all its parts."""
    paths = list(paths_of(value))
    (*path,) = paths[position % len(paths)]
    if not path:
        return replacement
    value = msgspec.json.decode(msgspec.json.encode(value))
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = replacement
    return value


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, part in parts:
        yield from paths_of(part, (*path, step))


def json_paths_of(value: Any) -> set[str]:
    return {
        "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        for path in paths_of(value)
    }


def accepts(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.validator_for(schema).is_valid(value)


def check(kind: Any, value: Any, *, sound: bool) -> bool:
    """Check the law for a type and a value; return whether the value converts."""
    of = json_type(kind)
    accepted = accepts(of.schema("input"), value)
    converted, violations = conversion(of, value)
    if violations is not None:
        assert not accepted
        assert violations
        known = json_paths_of(value)
        assert all(each.path in known or STEP.sub("", each.path) in known for each in violations)
        return False
    assert accepted or not sound
    encoded = msgspec.json.decode(json_encoding.encode(converted))
    assert accepts(of.schema("output"), encoded)
    return True


def conversion(of: JsonType, value: Any) -> tuple[Any, list[Violation] | None]:
    try:
        return of.convert(value, size=0), None
    except ConversionError as error:
        return None, error.violations


@settings(max_examples=80)
@given(data=st.data(), family=of_msgspec)
def test_msgspec_converts_exactly_what_the_schema_accepts(data: st.DataObject, family: Family) -> None:
    value = data.draw(family.values)
    assert check(family.kind, value, sound=True)
    check(family.kind, changed(value, data.draw(anything), data.draw(st.integers(0, 9))), sound=True)
    again = json_type(family.kind)
    converted = again.convert(value, 0)
    assert again.convert(msgspec.json.decode(json_encoding.encode(converted)), 0) == converted


@settings(max_examples=60)
@given(data=st.data(), family=of_pydantic)
def test_pydantic_converts_what_the_schema_accepts(data: st.DataObject, family: Family) -> None:
    value = data.draw(family.values)
    assert check(family.kind, value, sound=False)
    check(family.kind, changed(value, data.draw(anything), data.draw(st.integers(0, 9))), sound=False)
