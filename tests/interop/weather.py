"""A service with a typed input and output, for which the tests generate clients."""

from typing import Any

from dockrion import StreamContext

# `Place` refers to itself, `days` is no class name, and `Error` is also the name of an event.
INPUT = {
    "type": "object",
    "properties": {
        "place": {"$ref": "#/$defs/Place"},
        "days": {"$ref": "#/$defs/days"},
        "unit": {"enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "exact": {"const": True},
    },
    "required": ["place"],
    "additionalProperties": False,
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "near": {"$ref": "#/$defs/Place"}},
            "required": ["name"],
        },
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
}
OUTPUT = {
    "type": "object",
    "properties": {
        "place": {"$ref": "#/definitions/Place"},
        "highs": {"type": "array", "items": {"type": "number"}},
        "errors": {"type": "array", "items": {"$ref": "#/definitions/Error"}},
    },
    "required": ["place", "highs", "errors"],
    "definitions": {
        "Place": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        "Error": {"type": "object", "properties": {"day": {"type": "integer"}}, "required": ["day"]},
    },
}
IO_SCHEMA = {"input": INPUT, "output": OUTPUT}


async def forecast(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    if payload["place"]["name"] == "Nowhere":
        raise ValueError("there is no such place")
    await context.emit_token("sunny")
    await context.emit("mood", happy=True)
    days = payload.get("days", 1)
    return {"place": payload["place"], "highs": [20.5] * days, "errors": [{"day": days}]}
