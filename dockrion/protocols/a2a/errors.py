"""Errors as A2A reports them: codes of JSON-RPC, and details as version 1.0 wants them."""

from typing import Any

import msgspec

from dockrion.errors import Conflict, DockrionError, RunNotFound, UnsupportedMediaType
from dockrion.protocols import json_rpc

TASK_NOT_FOUND, NOT_CANCELABLE, NO_PUSH, UNSUPPORTED_OPERATION = -32001, -32002, -32003, -32004
CONTENT_TYPE_NOT_SUPPORTED, NO_EXTENDED_CARD, VERSION_NOT_SUPPORTED = -32005, -32007, -32009
_CODES: dict[type[DockrionError], int] = {
    Conflict: UNSUPPORTED_OPERATION,
    RunNotFound: TASK_NOT_FOUND,
    UnsupportedMediaType: CONTENT_TYPE_NOT_SUPPORTED,
}
_REASONS = {
    TASK_NOT_FOUND: "TASK_NOT_FOUND",
    NOT_CANCELABLE: "TASK_NOT_CANCELABLE",
    NO_PUSH: "PUSH_NOTIFICATION_NOT_SUPPORTED",
    UNSUPPORTED_OPERATION: "UNSUPPORTED_OPERATION",
    CONTENT_TYPE_NOT_SUPPORTED: "CONTENT_TYPE_NOT_SUPPORTED",
    NO_EXTENDED_CARD: "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
    VERSION_NOT_SUPPORTED: "VERSION_NOT_SUPPORTED",
}
_TYPES = "type.googleapis.com/google"  # of details (specification 1.0, 9.5)
# Clients tell apart by the code what they get with the status 200; of other responses they see the status.
_IN_BAND = frozenset({400, 404, 409, 410, 422})


def error_status(status: int) -> int:
    """Return the HTTP status with which a method's error is reported that has a status elsewhere."""
    return 200 if status in _IN_BAND else status


def error_code(error: DockrionError) -> int:
    """Return the error code of a failure."""
    return error.rpc_code if isinstance(error, json_rpc.RpcError) else error_code_of(type(error))


def error_code_of(kind: type[DockrionError]) -> int:
    """Return the error code of failures of a kind that JSON-RPC does not know."""
    found = (code for known, code in _CODES.items() if issubclass(kind, known))
    return next(found, None) or json_rpc.error_code_of(kind)


def error_data(code: int, own_code: str, details: Any = None) -> list[dict[str, Any]]:
    """Return the `data` of an error object.

    Args:
        code: The error code.
        own_code: The code that the error has in Dockrion's own API.
        details: Further information, a JSON value.
    """
    info: dict[str, Any] = {"@type": f"{_TYPES}.rpc.ErrorInfo", "reason": own_code, "domain": "dockrion"}
    if code in _REASONS:
        info |= {"reason": _REASONS[code], "domain": "a2a-protocol.org", "metadata": {"code": own_code}}
    if details is None:
        return [info]
    return [info, {"@type": f"{_TYPES}.protobuf.Value", "value": details}]


def error_data_of(error: DockrionError) -> list[dict[str, Any]]:
    """Return the `data` of the error object of a failure."""
    return error_data(error_code(error), error.code, msgspec.to_builtins(error.details))
