"""Reading UI message streams as strictly as the SDK does."""

import json
from typing import Any

from dockrion.wire.sse import Message


def chunks_of(messages: list[Message]) -> list[dict[str, Any]]:
    """Return the chunks of a stream, without its end."""
    return [json.loads(message.data) for message in messages if message.data != "[DONE]"]


def check_order(chunks: list[dict[str, Any]]) -> None:
    """Check the order that the SDK's `processUIMessageStream` demands, and that of a whole stream."""
    open_parts: dict[str, set[str]] = {"text": set(), "reasoning": set()}
    calls: set[str] = set()
    in_step = False
    for number, chunk in enumerate(chunks):
        kind, _, edge = chunk["type"].rpartition("-")
        assert (number == 0) == (chunk["type"] == "start"), number
        if kind in open_parts:
            assert in_step
            if edge == "start":
                assert chunk["id"] not in open_parts[kind]
                open_parts[kind].add(chunk["id"])
            assert chunk["id"] in open_parts[kind], chunk
            if edge == "end":
                open_parts[kind].remove(chunk["id"])
        elif chunk["type"] == "start-step":
            assert not in_step
            in_step = True
        elif chunk["type"] == "finish-step":
            assert in_step
            assert not any(open_parts.values())
            in_step = False
        elif chunk["type"] == "tool-input-available":
            assert in_step
            assert chunk["providerExecuted"]
            assert chunk["dynamic"]
            calls.add(chunk["toolCallId"])
        elif chunk["type"].startswith("tool-output"):
            assert chunk["toolCallId"] in calls
        elif chunk["type"] in ("finish", "abort"):
            assert not in_step
            assert number == len(chunks) - 1


def message_of(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of the message that a client builds, without what does not matter to its reader."""
    parts: list[dict[str, Any]] = []
    texts: dict[tuple[str, str], dict[str, Any]] = {}
    tools: dict[str, dict[str, Any]] = {}
    for chunk in chunks:
        kind, _, edge = chunk["type"].rpartition("-")
        if kind in ("text", "reasoning"):
            key = kind, chunk["id"]
            if edge == "start":
                parts.append(texts.setdefault(key, {"type": kind, "text": ""}))
            elif edge == "delta":
                texts[key]["text"] += chunk["delta"]
            else:
                del texts[key]
        elif chunk["type"] == "tool-input-available":
            tool = {"type": "tool", "name": chunk["toolName"], "input": chunk["input"]}
            tools[chunk["toolCallId"]] = tool
            parts.append(tool)
        elif chunk["type"] == "tool-output-available":
            tools[chunk["toolCallId"]]["output"] = chunk["output"]
        elif chunk["type"] == "tool-output-error":
            tools[chunk["toolCallId"]]["error"] = chunk["errorText"]
        elif kind not in ("tool-input", "start", "finish") and chunk["type"] not in ("start", "finish"):
            parts.append(chunk)
    return parts
