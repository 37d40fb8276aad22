"""Arguments that are sent as headers, as the package `mcp` sends and checks them."""

from typing import Any

import pytest
from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map

from dockrion.protocols.json_rpc import RpcError
from dockrion.protocols.mcp.envelope import HEADER_MISMATCH
from dockrion.protocols.mcp.param_headers import check_param_headers

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        "fast": {"type": "boolean", "x-mcp-header": "Fast"},
        "other": {"type": "string"},
    },
}


def agrees(arguments: dict[str, Any], headers: dict[str, Any], schema: dict[str, Any] = SCHEMA) -> bool:
    values = {name: value if isinstance(value, list) else [value] for name, value in headers.items()}
    try:
        check_param_headers(schema, arguments, lambda name: values.get(name, []))
    except RpcError as error:
        return error.rpc_code != HEADER_MISMATCH
    return True


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"region": "us-west1", "deep": {"n": 42}, "fast": True, "other": "x"},
        {"region": None, "deep": {"n": -7}, "fast": False},
        {"region": "", "deep": {"n": 2**53 - 1}},
        {"region": " é\n", "deep": "none", "fast": None},
        {"region": "=?base64?eA==?=", "deep": {"n": 42.0}},
    ],
)
def test_headers_of_the_real_client(arguments: dict[str, Any]) -> None:
    assert find_invalid_x_mcp_header(SCHEMA) is None
    assert agrees(arguments, mcp_param_headers(x_mcp_header_map(SCHEMA), arguments))


@pytest.mark.parametrize(
    ("arguments", "headers", "right"),
    [
        ({"region": "a"}, {}, False),
        ({}, {"Mcp-Param-Region": "a"}, False),
        ({"region": None}, {"Mcp-Param-Region": "None"}, False),
        ({"region": "a"}, {"Mcp-Param-Region": "b"}, False),
        ({"region": "a"}, {"Mcp-Param-Region": ["a", "a"]}, False),
        ({"region": "a"}, {"Mcp-Param-Region": "=?base64?YQ==?="}, True),
        ({"region": "a"}, {"Mcp-Param-Region": "=?base64?YQ?="}, False),
        ({"region": "é"}, {"Mcp-Param-Region": "é"}, False),
        ({"region": ["a"]}, {}, True),
        ({"region": ["a"]}, {"Mcp-Param-Region": "a"}, False),
        ({"deep": {"n": 42}}, {"Mcp-Param-N": "42.0"}, True),
        ({"deep": {"n": 42}}, {"Mcp-Param-N": "42.5"}, False),
        ({"deep": {"n": 42}}, {"Mcp-Param-N": "4_2"}, False),
        ({"deep": {"n": 42}}, {"Mcp-Param-N": "9" * 5000}, False),
        ({"deep": {"n": 1}}, {"Mcp-Param-N": "true"}, False),
        ({"fast": True}, {"Mcp-Param-Fast": "1"}, False),
        ({"fast": True}, {"Mcp-Param-Fast": "True"}, False),
        ({"other": "x"}, {"Mcp-Param-Other": "y", "Mcp-Param-X": "z"}, True),
    ],
)
def test_headers_that_say_something_else(
    arguments: dict[str, Any], headers: dict[str, Any], right: bool
) -> None:
    assert agrees(arguments, headers) is right


@pytest.mark.parametrize(
    "annotated",
    [
        {"type": "number", "x-mcp-header": "N"},
        {"type": ["string", "null"], "x-mcp-header": "N"},
        {"type": "string", "x-mcp-header": ""},
        {"type": "string", "x-mcp-header": "a b"},
        {"type": "string", "x-mcp-header": 1},
        {"type": "array", "items": {"type": "string", "x-mcp-header": "N"}},
    ],
)
def test_annotations_that_are_none(annotated: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": annotated, "b": True}}
    assert find_invalid_x_mcp_header(schema) is not None
    assert agrees({"a": "x"}, {}, schema)
