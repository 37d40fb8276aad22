"""An event of every type that agents emit, with every field, and agents that emit them in every way."""

from collections.abc import AsyncIterator
from typing import Any

from dockrion import StreamContext
from dockrion.events import CONFIGURABLE

SOURCE = "supervisor/clerk"
# The type and the own fields of each, as readers get them; strings have what needs care on some transport.
EVENTS: list[dict[str, Any]] = [
    {"type": "progress", "step": "plan", "progress": 0.5, "message": "half\n\u2028"},
    {"type": "token", "content": "Hel\r\n", "finish_reason": None},
    {"type": "token", "content": "lo", "finish_reason": "stop", "message_id": "m1", "source": SOURCE},
    {
        "type": "message",
        "message_id": "m1",
        "role": "assistant",
        "content": "Hel\r\nlo",
        "name": "clerk",
        "source": SOURCE,
    },
    {"type": "message", "role": "user", "content": [{"type": "text", "text": "data: \n\n"}], "name": None},
    {"type": "reasoning", "content": "Hm", "message_id": "m1", "source": SOURCE},
    {
        "type": "tool_call",
        "tool_call_id": "c1",
        "name": "search",
        "arguments": {"q": "rain\n\n", "most": 3},
        "message_id": "m1",
        "source": SOURCE,
    },
    {
        "type": "tool_result",
        "tool_call_id": "c1",
        "name": "search",
        "result": ["wet", None],
        "is_error": False,
        "duration_ms": 3,
        "source": SOURCE,
    },
    {
        "type": "tool_result",
        "tool_call_id": "c2",
        "name": "read",
        "result": "ValueError: no",
        "is_error": True,
        "duration_ms": 1.5,
    },
    {
        "type": "usage",
        "model": "small",
        "input_tokens": 3,
        "output_tokens": 2,
        "total_tokens": 5,
        "details": {"cached": 1},
        "source": SOURCE,
    },
    {
        "type": "step",
        "node_name": "search",
        "duration_ms": 12,
        "input_keys": ["q"],
        "output_keys": ["found"],
        "source": SOURCE,
    },
    {"type": "checkpoint", "name": "draft", "data": {"text": "Hello"}},
    {"type": "heartbeat"},
    {"type": "custom:mood", "happy": True},
    {"type": "custom:other", "n": 2},
]
USAGE = {"small": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}
ASKED: dict[str, Any] = {"prompt": "Send it?", "schema": {"type": "boolean"}}
assert {event["type"] for event in EVENTS} >= CONFIGURABLE.keys() - {"input_requested", "input_received"}


async def yielding(_payload: Any) -> AsyncIterator[dict[str, Any]]:
    for event in EVENTS:
        yield event


async def emitting(_payload: Any, context: StreamContext) -> None:
    for event in EVENTS:
        method, fields = method_of(event)
        await getattr(context, method)(**fields)


def sync_emitting(_payload: Any, context: StreamContext) -> None:
    for event in EVENTS:
        method, fields = method_of(event)
        getattr(context, f"sync_{method}")(**fields)


async def asking(payload: Any, context: StreamContext) -> Any:
    """Emit every event, and ask a question."""
    await emitting(payload, context)
    return await context.ask(**ASKED)


def method_of(event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the method of the context that emits an event, and its arguments."""
    fields = dict(event)
    event_type = fields.pop("type")
    if event_type == "checkpoint":
        return event_type, fields
    if event_type.startswith("custom:"):
        return "emit", {"event_type": event_type, **fields}
    return f"emit_{event_type}", fields
