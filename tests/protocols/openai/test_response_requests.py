"""Requests of the Responses API as messages, tools and fields for an agent."""

from typing import Any

import msgspec
import pytest

from dockrion.errors import InvalidRequest
from dockrion.protocols.conversation import Conversation
from dockrion.protocols.openai.response_requests import ResponseRequest, conversation_of


def _conversation(items: Any, agent_fields: tuple[str, ...] = (), **fields: Any) -> Conversation:
    body = {"input": items, **fields}
    return conversation_of(msgspec.convert(body, ResponseRequest), body, agent_fields)


def _call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "look", "arguments": arguments}}


def test_text_and_instructions() -> None:
    assert _conversation("Rain?", instructions="Be brief.").messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
    ]


def test_parts_of_messages() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
    file = {"type": "input_file", "file_data": "data:,a", "filename": "a.txt"}
    said = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "Look:"}, image, file],
            "type": "message",
        },
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        },
    ]
    assert _conversation(said).messages == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:,a", "filename": "a.txt"}},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]


def test_calls_and_results() -> None:
    named = {"name": "look", "arguments": "{}"}
    executed = {"type": "mcp_call", "server_label": "agent", **named}
    said = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", **named},
        {"type": "function_call", "call_id": "c2", **named},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
        {"role": "assistant", "content": "Once more."},
        {"id": "mcp_1", "output": "three", **executed},
        {"id": "mcp_2", "error": {"type": "mcp_tool_execution_error", "content": []}, **executed},
        {"id": "mcp_3", "output": None, "error": None, **executed},
    ]
    assert _conversation(said).messages == [
        {"role": "assistant", "content": "", "tool_calls": [_call("c1"), _call("c2")]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
        {"role": "assistant", "content": "Once more.", "tool_calls": [_call("mcp_1")]},
        {"role": "tool", "tool_call_id": "mcp_1", "content": "three"},
        {"role": "assistant", "content": "", "tool_calls": [_call("mcp_2")]},
        {
            "role": "tool",
            "tool_call_id": "mcp_2",
            "content": '{"type":"mcp_tool_execution_error","content":[]}',
        },
    ]


def test_tools_and_what_is_kept_of_a_request() -> None:
    tool: dict[str, Any] = {
        "type": "function",
        "name": "look",
        "description": "Looks.",
        "parameters": {},
        "strict": None,
    }
    body = {"input": "a", "tools": [tool], "model": "m", "metadata": {"a": "b"}, "background": True}
    request = msgspec.convert(body, ResponseRequest)
    assert conversation_of(request, body, ()).tools == [
        {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {}}}
    ]
    assert request.stored() == {"model": "m", "metadata": {"a": "b"}, "background": True, "tools": ["look"]}


def test_agent_that_takes_a_field_gets_what_is_refused_otherwise() -> None:
    text = {"format": {"type": "json_schema", "name": "x", "schema": {}}}
    with pytest.raises(InvalidRequest, match=r"text\.format"):
        _conversation("a", text=text)
    assert _conversation("a", ("text",), text=text).fields["text"] == text
    _conversation("a", text={"format": {"type": "text"}, "verbosity": "low"}, previous_response_id=None)
