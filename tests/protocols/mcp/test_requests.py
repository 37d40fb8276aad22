"""Which requests of MCP are accepted, the tool that an agent is, and the forms of its questions."""

import base64
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mcp_types import methods

from dockrion.dockfile.agent_structs import IoSchemaSpec
from dockrion.errors import InvalidRequest
from dockrion.protocols.json_rpc import RpcError, request_of
from dockrion.protocols.mcp import envelope
from dockrion.protocols.mcp.elicitation import RequestState, answer_in, form_of
from dockrion.protocols.mcp.envelope import Envelope, envelope_of
from dockrion.protocols.mcp.tool import payload_of, tool_of

VERSION, CAPABILITIES = (
    f"io.modelcontextprotocol/{key}" for key in ("protocolVersion", "clientCapabilities")
)
LATEST = envelope.LATEST_VERSION
META = {VERSION: LATEST, CAPABILITIES: {"elicitation": {}}}
HEADERS = {"Mcp-Protocol-Version": LATEST, "Mcp-Method": "tools/call", "Mcp-Name": "tool"}


def read(
    headers: dict[str, Any], meta: Any = None, method: str = "tools/call", request_id: Any = 1
) -> Envelope:
    params = {"name": "tool"} | ({} if meta is None else {"_meta": meta})
    body = {"jsonrpc": "2.0", "method": method, "params": params}
    request = request_of(body if request_id is None else body | {"id": request_id})
    values = {name: value if isinstance(value, list) else [value] for name, value in headers.items()}
    return envelope_of(request, lambda name: values.get(name, []))


def test_versions_with_a_handshake_need_no_envelope() -> None:
    for headers in ({}, *({"Mcp-Protocol-Version": version} for version in envelope.HANDSHAKE_VERSIONS)):
        assert read(headers) == read(headers, {"progressToken": 1}) == Envelope(handshake=True)
    assert read({}, method="initialize") == Envelope(handshake=True)
    for requested in envelope.HANDSHAKE_VERSIONS:
        assert envelope.negotiated_version(requested) == requested
    assert envelope.negotiated_version("2099-01-01") == envelope.negotiated_version(LATEST) == "2025-11-25"


@pytest.mark.parametrize(
    ("elicitation", "elicits"),
    [
        ({}, True),
        ({"form": {}}, True),
        ({"url": {}}, False),
        ({"url": {}, "form": {}}, True),
        (None, False),
        (1, False),
    ],
)
def test_clients_that_show_forms(elicitation: Any, elicits: bool) -> None:
    meta = META | {CAPABILITIES: {"elicitation": elicitation}}
    assert read(HEADERS, meta) == Envelope(handshake=False, elicits=elicits)
    assert read(HEADERS, META | {CAPABILITIES: "all"}) == Envelope(handshake=False)


def test_name_in_base64() -> None:
    encoded = base64.b64encode(b"tool").decode()
    assert read(HEADERS | {"Mcp-Name": f"=?base64?{encoded}?="}, META) == Envelope(
        handshake=False, elicits=True
    )


@pytest.mark.parametrize(
    ("headers", "meta", "code"),
    [
        ({"Mcp-Protocol-Version": "1999-01-01"}, None, envelope.UNSUPPORTED_VERSION),
        (
            HEADERS | {"Mcp-Protocol-Version": "9999-01-01"},
            META | {VERSION: "9999-01-01"},
            envelope.UNSUPPORTED_VERSION,
        ),
        (HEADERS, None, -32602),
        (HEADERS, {VERSION: LATEST}, -32602),
        ({}, META, envelope.HEADER_MISMATCH),
        (HEADERS | {"Mcp-Protocol-Version": "2025-11-25"}, META, envelope.HEADER_MISMATCH),
        (HEADERS, META | {VERSION: 7}, envelope.HEADER_MISMATCH),
        (HEADERS | {"Mcp-Method": "tools/list"}, META, envelope.HEADER_MISMATCH),
        (HEADERS | {"Mcp-Name": "other"}, META, envelope.HEADER_MISMATCH),
        (HEADERS | {"Mcp-Name": "=?base64?###?="}, META, envelope.HEADER_MISMATCH),
        (HEADERS | {"Mcp-Name": "=?base64?/w==?="}, META, envelope.HEADER_MISMATCH),
        (HEADERS | {"Mcp-Name": []}, META, envelope.HEADER_MISMATCH),
        *(
            (HEADERS | {name: [value, value]}, META, envelope.HEADER_MISMATCH)
            for name, value in HEADERS.items()
        ),
    ],
)
def test_requests_that_contradict_themselves_are_refused(headers: Any, meta: Any, code: int) -> None:
    with pytest.raises(RpcError) as raised:
        read(headers, meta)
    assert raised.value.rpc_code == code
    if code == envelope.UNSUPPORTED_VERSION:
        assert raised.value.details["supported"] == list(envelope.VERSIONS)


def test_notifications_are_of_a_known_version() -> None:
    for headers in ({}, {"Mcp-Protocol-Version": LATEST}, {"Mcp-Protocol-Version": "2025-11-25"}):
        read(headers, method="notifications/cancelled", request_id=None)
    with pytest.raises(RpcError):
        read({"Mcp-Protocol-Version": "x"}, method="notifications/cancelled", request_id=None)


OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}
NODE = {"$ref": "#/$defs/node", "$defs": {"node": OBJECT}}
LIST = {"type": "array", "items": {"$ref": "#/$defs/node"}, "$defs": {"node": OBJECT}}


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        (None, {"type": "object"}),
        (OBJECT, OBJECT),
        (NODE, {"type": "object"} | NODE),
        (
            LIST,
            {
                "type": "object",
                "properties": {"input": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["input"],
                "$defs": {"node": OBJECT},
            },
        ),
        (
            {"type": "array", "items": {"$ref": "#"}},
            {"type": "object", "properties": {"input": {}}, "required": ["input"]},
        ),
    ],
)
def test_input_schema(schema: Any, shown: Any) -> None:
    assert tool_of("agent", None, IoSchemaSpec(input=schema)) == {"name": "agent", "inputSchema": shown}
    if "properties" in shown and "input" in shown["properties"]:
        assert payload_of({"input": [1]}, schema) == [1]
        for arguments in ({}, {"input": 1, "more": 2}, {"other": 1}):
            with pytest.raises(InvalidRequest):
                payload_of(arguments, schema)
    else:
        assert payload_of({"a": "x"}, schema) == {"a": "x"}


def test_output_schema() -> None:
    assert tool_of("agent", "Works.", IoSchemaSpec(output=OBJECT))["outputSchema"] == OBJECT
    for io_schema in (IoSchemaSpec(output=OBJECT, strict=False), IoSchemaSpec(output={"type": "string"})):
        assert "outputSchema" not in tool_of("agent", "Works.", io_schema)


def check_form(form: dict[str, Any]) -> None:
    """Check that clients of the latest version accept a form."""
    params = {"mode": "form", "message": "?", "requestedSchema": form}
    asked = {"q": {"method": "elicitation/create", "params": params}}
    result = {"resultType": "input_required", "inputRequests": asked, "requestState": "x"}
    methods.validate_server_result("tools/call", LATEST, result)


def value_field(field: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"value": field}, "required": ["value"]}


CHOICE = {"type": "string", "enum": ["a", "b"]}
TEXT = {"type": "string", "minLength": 1, "format": "date", "default": "x", "title": "T"}
NUMBER = {"type": "integer", "minimum": 1}
NESTED = {"type": "object", "properties": {"a": {"type": "array"}}}
FLAT = {"type": "object", "properties": {"a": CHOICE, "b": TEXT}, "required": ["a"]}
AS_JSON = value_field({"type": "string", "description": "As JSON."})


@pytest.mark.parametrize(
    ("schema", "form", "content", "answer"),
    [
        (None, value_field({"type": "string"}), {"value": "[1]"}, "[1]"),
        (CHOICE, value_field(CHOICE), {"value": "a"}, "a"),
        ({"enum": ["a", "b"]}, value_field(CHOICE), {"value": "a"}, "a"),
        ({"type": "boolean", "default": 1}, value_field({"type": "boolean"}), {"value": True}, True),
        (TEXT | {"pattern": "^x"}, value_field(TEXT), {"value": "x"}, "x"),
        (NUMBER | {"format": "int32"}, value_field(NUMBER), {"value": 3}, 3),
        ({"type": ["string", "null"]}, AS_JSON, {"value": '"x"'}, "x"),
        ({"enum": [1, 2]}, AS_JSON, {"value": "1"}, 1),
        ({"type": "array"}, AS_JSON, {"value": "[1]"}, [1]),
        ({"type": "object"}, AS_JSON, {"value": "{}"}, {}),
        (NESTED, AS_JSON, {"value": '{"a": []}'}, {"a": []}),
        (FLAT | {"additionalProperties": False}, FLAT, {"a": "b"}, {"a": "b"}),
    ],
)
def test_forms(schema: Any, form: Any, content: Any, answer: Any) -> None:
    assert form_of(schema) == form
    check_form(form)
    assert answer_in(content, schema, msgspec.json.decode) == answer
    if "value" in form["properties"]:
        with pytest.raises(InvalidRequest):
            answer_in({"other": 1}, schema, msgspec.json.decode)


_plain = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
_keywords = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "number", "integer", "boolean", "array", "null"])
        | st.just(["string", "null"]),
        "enum": st.lists(_plain, min_size=1, max_size=3, unique_by=repr),
        "default": _plain,
        "title": st.text(max_size=3),
        "format": st.sampled_from(["date", "uuid"]),
        "minLength": st.integers(0, 3),
        "maximum": st.floats(-9, 9) | st.integers(-9, 9),
        "pattern": st.just("^x"),
    },
)
_objects = st.fixed_dictionaries(
    {"type": st.just("object"), "properties": st.dictionaries(st.text(max_size=3), _keywords, max_size=3)},
    optional={"required": st.lists(st.text(max_size=3), unique=True, max_size=2)},
)


@given(_keywords | _objects)
def test_every_schema_has_a_form(schema: dict[str, Any]) -> None:
    assume(jsonschema_rs.meta.is_valid(schema))
    form = form_of(schema)
    check_form(form)


@given(st.text(max_size=40))
def test_request_states(text: str) -> None:
    state = RequestState("run-1", "0123456789abcdef")
    assert RequestState.parse(str(state)) == state
    with pytest.raises(RpcError):
        RequestState.parse(text)
