"""JSON-RPC 2.0, in which clients of MCP and A2A call: requests, responses and errors."""

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from dockrion.errors import DockrionError, InvalidRequest

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND = -32700, -32600, -32601
INVALID_PARAMS, INTERNAL_ERROR = -32602, -32603
MAX_ID = 256  # characters of a request's id
_MAX_INTEGER = 2**53 - 1  # JSON numbers beyond it are others for many clients (RFC 8259, 6)
_SERVER_ERROR = 500
Id = str | int | None
T = TypeVar("T", bound=msgspec.Struct)


class RpcError(DockrionError):
    """A request that is refused with an error code of JSON-RPC, or of a protocol in it.

    Args:
        rpc_code: The code.
        message: What happened, and what the caller can do about it.
        data: Further information, a JSON value.
    """

    status, code = 400, InvalidRequest.code

    def __init__(self, rpc_code: int, message: str, data: Any = None) -> None:
        super().__init__(message, details=data)
        self.rpc_code = rpc_code


class Request(msgspec.Struct, frozen=True):
    """A request, or a notification, which has no id and gets no response.

    Attributes:
        method: What is called.
        params: Its parameters by name.
        id: The caller's id of the request.
    """

    method: str
    params: dict[str, Any] = {}
    id: Id | UnsetType = UNSET

    @property
    def is_notification(self) -> bool:
        return self.id is UNSET

    @property
    def response_id(self) -> Id:
        """The id of its response."""
        return None if self.id is UNSET else self.id


def request_of(body: Any) -> Request:
    """Return the request that a decoded body is.

    Raises:
        RpcError: It is none, or a batch.
    """
    if isinstance(body, list):
        raise RpcError(INVALID_REQUEST, "batches are not supported; send each request by itself")
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0" or not isinstance(body.get("method"), str):
        message = 'the body is no request of JSON-RPC 2.0; send {"jsonrpc": "2.0", "id", "method", "params"}'
        raise RpcError(INVALID_REQUEST, message)
    if "id" in body and not _is_id(body["id"]):
        raise RpcError(
            INVALID_REQUEST, f"id must be a text of at most {MAX_ID} characters, or a whole number"
        )
    params = body.get("params")
    if not isinstance(params, dict | None):
        raise RpcError(INVALID_PARAMS, "params must be an object")
    return Request(body["method"], params or {}, body.get("id", UNSET))


class Response(msgspec.Struct, frozen=True):
    """A response, with which callers answer what the service has asked them.

    Attributes:
        id: The id of the request that it answers.
        result: The result, None if there is none.
        failed: Whether there is an error instead.
    """

    id: Id
    result: Any
    failed: bool


def response_of(body: Any) -> Response | None:
    """Return the response that a decoded body is, None if it is none."""
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0" or "method" in body:
        return None
    if ("result" in body) == ("error" in body):
        return None
    return Response(id_of(body), body.get("result"), "error" in body)


def id_of(body: Any) -> Id:
    """Return the id with which the error for a body is reported, None if it has no valid one."""
    value = body.get("id") if isinstance(body, dict) else None
    return value if _is_id(value) else None


def params_of(request: Request, kind: type[T]) -> T:
    """Return a request's parameters. Fields that the struct does not have are ignored.

    Raises:
        RpcError: They do not match the struct.
    """
    try:
        return msgspec.convert(request.params, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).rpartition(" - at `")
        where = f" at params{path.removesuffix('`').removeprefix('$')}" if message else ""
        raise RpcError(INVALID_PARAMS, f"{message or path:.300}{where}") from None


def result_response(request_id: Id, result: Any) -> bytes:
    """Return the response to a request: JSON on one line."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def error_response(request_id: Id, code: int, message: str, data: Any = None) -> bytes:
    """Return the response to a request that failed: JSON on one line."""
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "error": error})


def request(request_id: Id, method: str, params: dict[str, Any]) -> bytes:
    """Return a request: JSON on one line."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})


def notification(method: str, params: dict[str, Any]) -> bytes:
    """Return a notification: JSON on one line."""
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params})


def error_code(error: DockrionError) -> int:
    """Return the error code of a failure; what JSON-RPC has no code for is told apart by `data.code`."""
    return error.rpc_code if isinstance(error, RpcError) else error_code_of(type(error))


def error_code_of(kind: type[DockrionError]) -> int:
    """Return the error code of failures of a kind that JSON-RPC does not know."""
    if issubclass(kind, InvalidRequest):
        return INVALID_PARAMS
    return INTERNAL_ERROR if kind.status >= _SERVER_ERROR else INVALID_REQUEST


def error_data(error: DockrionError) -> Any:
    """Return the `data` of a failure's error object."""
    details = msgspec.to_builtins(error.details)
    if isinstance(error, RpcError):
        return details
    return {"code": error.code} | ({} if details is None else {"details": details})


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID
    return value is None or (type(value) is int and abs(value) <= _MAX_INTEGER)
