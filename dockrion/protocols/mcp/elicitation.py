"""What agents ask, as MCP's elicitation: a form for a person, and the answer in it."""

from collections.abc import Callable
from typing import Any

import msgspec

from dockrion.errors import InvalidRequest
from dockrion.ids import INCARNATION_PATTERN, RUN_ID_PATTERN
from dockrion.protocols.json_rpc import INVALID_PARAMS, RpcError

_VALUE = "value"  # the field of a form for an answer that is no object
_COMMON = ("title", "description")
# The keywords of `PrimitiveSchemaDefinition`; clients refuse others. The service checks answers by them all.
_KEYWORDS: dict[str, tuple[str, ...]] = {
    "string": (*_COMMON, "minLength", "maxLength"),
    "number": (*_COMMON, "minimum", "maximum"),
    "integer": (*_COMMON, "minimum", "maximum"),
    "boolean": _COMMON,
}
_FORMATS = ("email", "uri", "date", "date-time")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}
_JSON_TEXT = {"type": "string", "description": "As JSON."}


class RequestState(msgspec.Struct, frozen=True):
    """Where a call goes on that waits for an answer; clients send it back as it is.

    Attributes:
        run_id: The run that is the call.
        incarnation: Its incarnation.
    """

    run_id: str
    incarnation: str

    def __str__(self) -> str:
        return f"{self.run_id}:{self.incarnation}"

    @classmethod
    def parse(cls, text: str) -> "RequestState":
        """Return the state that a client sends back.

        Raises:
            RpcError: It is none of this service.
        """
        if (found := cls.find(text)) is None:
            raise RpcError(INVALID_PARAMS, "requestState must be one with which this service has asked")
        return found

    @classmethod
    def find(cls, text: str) -> "RequestState | None":
        """Return the state that a text is, None if it is none."""
        run_id, _, incarnation = text.partition(":")
        if RUN_ID_PATTERN.fullmatch(run_id) and INCARNATION_PATTERN.fullmatch(incarnation):
            return cls(run_id, incarnation)
        return None


def form_of(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the form for an answer.

    Args:
        schema: JSON Schema of the answer, None for any JSON value.
    """
    if (fields := _flat_fields(schema)) is not None:
        required = [name for name in (schema or {}).get("required", ()) if name in fields]
        return {"type": "object", "properties": fields} | ({"required": required} if required else {})
    field = {"type": "string"} if schema is None else _primitive(schema) or _JSON_TEXT
    return {"type": "object", "properties": {_VALUE: field}, "required": [_VALUE]}


def answer_in(content: dict[str, Any], schema: dict[str, Any] | None, decode: Callable[[bytes], Any]) -> Any:
    """Return the answer in a form that was filled in.

    Args:
        content: The form's values.
        schema: As for `form_of`.
        decode: Decodes JSON; raises `ValueError` if it is none, or nested too deeply.

    Raises:
        InvalidRequest: There is none.
    """
    if _flat_fields(schema) is not None:
        return content
    if _VALUE not in content:
        raise InvalidRequest(f"inputResponses: the content of the answer must have the field {_VALUE}")
    value = content[_VALUE]
    if schema is None or _primitive(schema) is not None or not isinstance(value, str):
        return value
    try:
        return decode(value.encode())
    except ValueError as error:
        raise InvalidRequest(f"inputResponses: {_VALUE} must be JSON: {error}") from None


def _flat_fields(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the fields of a form for an object, None if the schema is not one of simple fields."""
    properties = (schema or {}).get("properties")
    if not properties or (schema or {}).get("type", "object") != "object":
        return None
    fields = {name: _primitive(each) for name, each in properties.items()}
    return None if None in fields.values() else fields


def _primitive(schema: Any) -> dict[str, Any] | None:
    """Return the schema of a form's field, None if a form cannot have such a field."""
    if not isinstance(schema, dict):
        return None
    values = schema.get("enum")
    kind = schema.get("type", "string" if values else None)
    if not isinstance(kind, str) or kind not in _KEYWORDS:
        return None
    if values is not None and not (kind == "string" and all(isinstance(each, str) for each in values)):
        return None
    field = {"type": kind} | {key: schema[key] for key in _KEYWORDS[kind] if key in schema}
    if values is not None:
        field = {key: field[key] for key in ("type", *_COMMON) if key in field} | {"enum": values}
    elif schema.get("format") in _FORMATS and kind == "string":
        field["format"] = schema["format"]
    default = schema.get("default")
    if isinstance(default, _TYPES[kind]) and isinstance(default, bool) == (kind == "boolean"):
        field["default"] = default
    return field
