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
    if payload["place"]["name"] == "Somewhere":
        call = await context.emit_tool_call("locate", {"place": "Somewhere"}, source="guide")
        await context.emit_tool_result(call, {"latitude": 47.07})
        await context.emit_reasoning("It depends.")
        await context.emit_message([{"type": "text", "text": "It depends."}], message_id="m")
        await context.emit_usage("large", 3, 4)
        days = await context.ask("How many days?", {"type": "integer", "minimum": 1})
    return {"place": payload["place"], "highs": [20.5] * days, "errors": [{"day": days}]}
