"""Requests for chat completions, as conversations with the agent."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dockrion.protocols.conversation import Conversation
from dockrion.protocols.openai.errors import refuse, refuse_unmet
from dockrion.protocols.openai.response_requests import MAX_TOOL_NAME, MAX_TOOLS, ModelName


class ChatMessage(msgspec.Struct):
    """One message. Of its other fields, no agent gets any."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The body of a request, as far as it concerns more than the agent."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: ModelName | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None = None
    n: int | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    logprobs: bool | None = None
    functions: list[Any] | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the run's usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def tool_names(self) -> frozenset[str]:
        """The names of the tools that the client executes."""
        functions = (tool.get("function") for tool in self.tools or ())
        names = (each.get("name") for each in functions if isinstance(each, dict))
        return frozenset(name for name in names if isinstance(name, str))

    def stored(self) -> dict[str, Any]:
        """Return what encoding the run's events needs of the request."""
        return {"model": self.model, "usage": self.includes_usage, "tools": sorted(self.tool_names)}


def conversation_of(
    request: ChatRequest, fields: dict[str, Any], agent_fields: Collection[str]
) -> Conversation:
    """Return the conversation that a request is.

    Args:
        request: The request.
        fields: All fields of its body.
        agent_fields: The fields that `io_schema.input` has. What the agent gets, it may as well obey.

    Raises:
        InvalidRequest: A message is malformed, or the request demands what no reply would have.
    """
    refuse_unmet(_demands(request), agent_fields)
    if any(len(name) > MAX_TOOL_NAME for name in request.tool_names):
        refuse("tools", f"the name of a tool must have at most {MAX_TOOL_NAME} characters")
    messages = [_message(each, index) for index, each in enumerate(request.messages)]
    return Conversation(messages, fields, request.tools or [])


def _demands(request: ChatRequest) -> list[tuple[str, bool, str]]:
    """Return the fields whose demands a reply cannot meet: whether each demands anything, and the problem."""
    response_format = (request.response_format or {}).get("type", "text")
    audio = request.audio is not None or "audio" in (request.modalities or ())
    return [
        ("n", request.n not in (None, 1), "this service makes one choice for a request; send n: 1"),
        (
            "response_format",
            response_format != "text",
            "this agent decides itself what it writes; omit `response_format`",
        ),
        ("audio", audio, "this agent replies with text only; omit `audio`, and `modalities` other than text"),
        ("logprobs", bool(request.logprobs), "this agent reports no logprobs; omit `logprobs`"),
        ("functions", bool(request.functions), "functions are deprecated; send them as tools"),
    ]


def _message(message: ChatMessage, index: int) -> dict[str, Any]:
    """Return a message as conversations have it."""
    role, content = message.role, message.content
    if role == "developer":  # OpenAI's newer name for what all frameworks know as system
        role = "system"
    converted: dict[str, Any] = {"role": role, "content": content}
    if content is None:
        if role != "assistant":
            refuse(f"messages[{index}].content", f"a message of the role {role} needs content")
        converted["content"] = ""
    elif isinstance(content, list):
        parts = enumerate(content)
        converted["content"] = [_part(part, f"messages[{index}].content[{at}]") for at, part in parts]
    if message.name is not None:
        converted["name"] = message.name
    if message.tool_calls:
        converted["tool_calls"] = message.tool_calls
    if message.tool_call_id is not None:
        converted["tool_call_id"] = message.tool_call_id
    elif role == "tool":
        refuse(f"messages[{index}].tool_call_id", "a message of the role tool needs the id of its call")
    return converted


def _part(part: dict[str, Any], path: str) -> dict[str, Any]:
    kind = part.get("type")
    if not isinstance(kind, str):
        refuse(f"{path}.type", "a part of a message's content needs a type")
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "text", "text": part["refusal"]}
    if kind == "text" and not isinstance(part.get("text"), str):
        refuse(f"{path}.text", "a part of the type text needs text")
    return part
