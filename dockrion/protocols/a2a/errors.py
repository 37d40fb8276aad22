"""Errors as A2A reports them: codes of JSON-RPC."""

from dockrion.errors import Conflict, DockrionError, RunNotFound
from dockrion.protocols import json_rpc

TASK_NOT_FOUND, NOT_CANCELABLE, NO_PUSH, UNSUPPORTED_OPERATION = -32001, -32002, -32003, -32004
CONTENT_TYPE_NOT_SUPPORTED, NO_EXTENDED_CARD, VERSION_NOT_SUPPORTED = -32005, -32007, -32009
_CODES: dict[type[DockrionError], int] = {Conflict: UNSUPPORTED_OPERATION, RunNotFound: TASK_NOT_FOUND}
# Clients tell apart by the code what they get with the status 200; of other responses they see the status.
_IN_BAND = frozenset({400, 404, 409, 410, 422})


def error_status(status: int) -> int:
    """Return the HTTP status with which a method's error is reported that has a status elsewhere."""
    return 200 if status in _IN_BAND else status


def error_code(error: DockrionError) -> int:
    """Return the error code of a failure."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    return json_rpc.error_code(error)
