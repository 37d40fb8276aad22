"""What the responses of protocols in JSON-RPC have in common."""

from collections.abc import Callable
from typing import Any

import msgspec

from dockrion.errors import DockrionError
from dockrion.openapi import error_responses
from dockrion.openapi.error_responses import ErrorTypes
from dockrion.openapi.operation import JSON
from dockrion.protocols import json_rpc
from dockrion.protocols.json_rpc import MAX_ID

VERSION = {"const": "2.0"}
ID = {"anyOf": [{"type": "string", "maxLength": MAX_ID}, {"type": "integer"}, {"type": "null"}]}
ERROR = {
    "type": "object",
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {}},
    "required": ["code", "message"],
}
FAILURE = {
    "type": "object",
    "properties": {"jsonrpc": VERSION, "id": ID, "error": ERROR},
    "required": ["jsonrpc", "id", "error"],
}
RESPONSE = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"jsonrpc": VERSION, "id": ID, "result": {"type": "object"}},
            "required": ["jsonrpc", "id", "result"],
        },
        FAILURE,
    ]
}


def errors_of(
    kinds: ErrorTypes, code_and_data: Callable[[type[DockrionError]], tuple[int, Any]] | None = None
) -> dict[str, Any]:
    """Return the response objects of errors in JSON-RPC, by status.

    Args:
        kinds: The errors.
        code_and_data: Returns the code and data of an error object, None for those of
            `protocols/json_rpc.py`.
    """
    described = error_responses.responses(kinds)
    for status, each in described.items():
        examples = {}
        for kind, words in error_responses.DESCRIPTIONS.items():
            if kind in kinds and kind.status == int(status):
                code, data = (code_and_data or _code_and_data)(kind)
                body = json_rpc.error_response(None, code, words, data)
                examples[kind.__name__] = {"value": msgspec.json.decode(body)}
        each["content"] = {JSON: {"schema": FAILURE, "examples": examples}}
    return described


def _code_and_data(kind: type[DockrionError]) -> tuple[int, Any]:
    return json_rpc.error_code_of(kind), {"code": kind.code}
