"""The agent's schemas as components: they accept what they accepted, and their definitions have names."""

from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.dockfile.agent_structs import IoSchemaSpec
from dockrion.openapi.agent_schemas import with_agent_schemas
from tests.openapi.services import references, resolved

KEYS = ["A", "a", "Run", "run_", "x/y", "m~n", "é", "50%", "", "AgentInput", "$defs"]
OWN: dict[str, Any] = {"Run": {"properties": {"output": {}}}, "Invoked": {"properties": {"output": {}}}}


def pointer(*steps: str) -> str:
    """Return a JSON pointer as a URI fragment (RFC 6901, 6)."""
    return "#" + "".join(f"/{quote(step.replace('~', '~0').replace('/', '~1'))}" for step in steps)


# All of these are below `properties`, so that no schema refers to itself for the same value.
targets = st.sampled_from(
    [
        pointer(),
        *(pointer(keyword, key) for keyword in ("$defs", "definitions") for key in KEYS),
        *(pointer("$defs", key, "allOf", "0") for key in KEYS),
    ]
)
leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(
        lambda name: {"type": name}, st.sampled_from(["object", "string", "integer", "boolean", "array"])
    ),
    st.builds(lambda target: {"$ref": target}, targets),
    st.builds(lambda values: {"enum": values}, st.lists(st.sampled_from([1, True, "a"]), min_size=1)),
    st.builds(lambda value: {"const": value}, st.sampled_from([1, False, "b", None, []])),
)
parts = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda part: {"properties": {"q": part}, "unevaluatedProperties": False}, inner),
        st.builds(lambda part: {"items": part}, inner),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=4,
)
definition = st.builds(
    lambda one, other: {"properties": {"q": one}, "allOf": [{"properties": {"r": other}}]}, parts, parts
)
definitions = st.fixed_dictionaries(dict.fromkeys(KEYS, definition))
schemas = st.builds(
    lambda part, some, others: {"properties": {"p": part}, "$defs": some, "definitions": others},
    parts,
    definitions,
    definitions,
)
values = st.recursive(
    st.sampled_from([1, True, False, "a", "b", None]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=2),
    max_leaves=5,
)


def accepts(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema_rs.Draft202012Validator(schema).is_valid(value)


@settings(max_examples=30)
@given(given_schema=schemas, instances=st.lists(values, min_size=5, max_size=20))
def test_components_accept_what_the_schema_accepts(
    given_schema: dict[str, Any], instances: list[Any]
) -> None:
    components = with_agent_schemas(OWN, IoSchemaSpec(input=given_schema))
    document = {"components": {"schemas": components}}
    for reference in references(components):
        resolved(document, reference)
    component = document | {"$ref": "#/components/schemas/AgentInput"}
    assert [accepts(component, each) for each in instances] == [
        accepts(given_schema, each) for each in instances
    ]


def names(schema: dict[str, Any], output: dict[str, Any] | None = None) -> set[str]:
    return with_agent_schemas(OWN, IoSchemaSpec(input=schema, output=output)).keys() - OWN.keys()


@pytest.mark.parametrize(
    ("keys", "components"),
    [
        (["Place"], {"Place"}),
        (["Page[int]"], {"Page_int_"}),
        (["Run"], {"AgentInputRun"}),
        (["run"], {"AgentInputRun"}),
        (["Run", "run"], {"AgentInputRun", "AgentInputrun2"}),
        (["é"], {"AgentInput_2"}),
        (["agent_input"], {"AgentInputAgent_input"}),
        (["AgentOutput"], {"AgentInputAgentOutput"}),
    ],
)
def test_definitions_have_names_that_no_other_component_has(keys: list[str], components: set[str]) -> None:
    schema = {"$defs": {key: {"type": "string"} for key in keys}}
    assert names(schema) == {"AgentInput", *components}


def test_definitions_of_input_and_output_are_apart() -> None:
    some, other = ({"$defs": {"Place": {"type": name}}} for name in ("string", "object"))
    assert names(some, other) == {"AgentInput", "AgentOutput", "Place", "AgentOutputPlace"}


def test_definitions_stay_where_references_are_relative_to_an_id() -> None:
    schema = {"$id": "urn:x", "$defs": {"A": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/A"}}}
    components = with_agent_schemas({}, IoSchemaSpec(input=schema))
    assert components == {"AgentInput": schema}


def test_titles_that_are_names_of_other_components_are_dropped() -> None:
    place = {"title": "Place", "type": "object"}
    schema = {"title": "Run", "properties": {"place": {"$ref": "#/$defs/Place"}}, "$defs": {"Place": place}}
    own: dict[str, Any] = {"Run": {"title": "Run", "properties": {}}, "Invoked": {"properties": {}}}
    output = {"title": "Order", "$defs": {"Place": place}}
    components = with_agent_schemas(own, IoSchemaSpec(input=schema, output=output))
    titles = {name: each.get("title") for name, each in components.items() if name not in own}
    assert titles == {"AgentInput": None, "Place": "Place", "AgentOutput": "Order", "AgentOutputPlace": None}


def test_equal_titles_of_input_and_output_are_kept_once() -> None:
    components = with_agent_schemas({}, IoSchemaSpec(input={"title": "Order"}, output={"title": "Order"}))
    assert components["AgentInput"] == {"title": "Order"}
    assert components["AgentOutput"] == {}
