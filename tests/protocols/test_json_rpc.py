"""JSON-RPC: what is a request, and how a failure is reported."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.errors import (
    DockrionError,
    InvalidRequest,
    PolicyViolation,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
)
from dockrion.json_schema import Violation
from dockrion.protocols import json_rpc
from dockrion.protocols.json_rpc import MAX_ID, Request, RpcError, params_of, request_of
from tests.protocols.logs import json_values

_WRONG_IDS: list[Any] = [1.5, True, [], {}, "x" * (MAX_ID + 1), 2**53]
CALL = {"jsonrpc": "2.0", "id": 1, "method": "work", "params": {"a": 1}}


class Params(msgspec.Struct):
    a: int
    b: str = ""


def test_requests_and_notifications() -> None:
    assert request_of(CALL) == Request("work", {"a": 1}, 1)
    assert not request_of(CALL | {"id": None}).is_notification
    no_params = {"jsonrpc": "2.0", "id": "x", "method": "work"}
    assert request_of(no_params) == request_of(no_params | {"params": None}) == Request("work", {}, "x")
    told = request_of({"jsonrpc": "2.0", "method": "told"})
    assert told.is_notification


@pytest.mark.parametrize(
    ("body", "code"),
    [
        *((body, json_rpc.INVALID_REQUEST) for body in (None, 1, "x", {}, [], [CALL], {"jsonrpc": "2.0"})),
        *((CALL | {"jsonrpc": version}, json_rpc.INVALID_REQUEST) for version in ("1.0", 2, None)),
        *((CALL | {"method": method}, json_rpc.INVALID_REQUEST) for method in (1, None, ["work"])),
        *((CALL | {"id": wrong}, json_rpc.INVALID_REQUEST) for wrong in _WRONG_IDS),
        *((CALL | {"params": params}, json_rpc.INVALID_PARAMS) for params in ([1], "x", 1, False)),
    ],
)
def test_what_is_no_request_is_refused(body: Any, code: int) -> None:
    with pytest.raises(RpcError) as raised:
        request_of(body)
    assert (raised.value.rpc_code, raised.value.status) == (code, 400)


@given(json_values)
def test_any_body_is_a_request_or_refused_with_its_id(body: Any) -> None:
    json_rpc.id_of(body)
    with pytest.raises(RpcError):
        request_of(body)


@given(st.text(max_size=MAX_ID) | st.integers(-(2**53) + 1, 2**53 - 1) | st.none())
def test_ids_come_back_as_they_were(request_id: Any) -> None:
    assert request_of(CALL | {"id": request_id}).id == json_rpc.id_of(CALL | {"id": request_id}) == request_id
    sent = msgspec.json.decode(json_rpc.result_response(request_id, {"a": [1]}))
    assert sent == {"jsonrpc": "2.0", "id": request_id, "result": {"a": [1]}}


def test_ids_of_what_is_no_request() -> None:
    assert [json_rpc.id_of(body) for body in ([CALL], None, {"id": 7}, {"id": [7]})] == [None, None, 7, None]


def test_params() -> None:
    assert params_of(request_of(CALL | {"params": {"a": 2, "more": 3}}), Params) == Params(2)
    for params, expected in (({}, "missing required field `a`"), ({"a": "2"}, "got `str` at params.a")):
        with pytest.raises(RpcError, match=expected) as raised:
            params_of(request_of(CALL | {"params": params}), Params)
        assert raised.value.rpc_code == json_rpc.INVALID_PARAMS


@pytest.mark.parametrize(
    ("error", "code", "data"),
    [
        (RpcError(-32022, "other", {"supported": []}), -32022, {"supported": []}),
        (RpcError(-32601, "unknown"), -32601, None),
        (
            InvalidRequest("bad", details=[Violation("$.a", "is no b")]),
            json_rpc.INVALID_PARAMS,
            {"code": "VALIDATION_ERROR", "details": [{"path": "$.a", "message": "is no b"}]},
        ),
        (PolicyViolation("no"), json_rpc.INVALID_REQUEST, {"code": "POLICY_VIOLATION"}),
        (Unauthorized("who?"), json_rpc.INVALID_REQUEST, {"code": "AUTH_ERROR"}),
        (RateLimited("later"), json_rpc.INVALID_REQUEST, {"code": "RATE_LIMIT_EXCEEDED"}),
        (ServiceUnavailable("later"), json_rpc.INTERNAL_ERROR, {"code": "SERVICE_UNAVAILABLE"}),
        (DockrionError("broken"), json_rpc.INTERNAL_ERROR, {"code": "INTERNAL_ERROR"}),
    ],
)
def test_failures_as_errors(error: DockrionError, code: int, data: Any) -> None:
    assert (json_rpc.error_code(error), json_rpc.error_data(error)) == (code, data)
    sent = msgspec.json.decode(json_rpc.error_response(1, code, error.message, data))
    assert sent["error"] == {"code": code, "message": error.message} | (
        {} if data is None else {"data": data}
    )
    told = msgspec.json.decode(json_rpc.notification("told", {"a": 1}))
    assert told == {"jsonrpc": "2.0", "method": "told", "params": {"a": 1}}
