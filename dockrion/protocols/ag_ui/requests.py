"""What AG-UI clients send: `RunAgentInput`, and how it becomes a conversation.

Fields that are not listed are ignored, as the protocol's versions demand. Earlier versions send null for what
is absent.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dockrion.errors import InvalidRequest
from dockrion.protocols.conversation import AUDIO_FORMATS, Conversation, tool_call

MAX_ID = 512  # characters
MAX_TOOLS = 1000  # each becomes several times as long
Id = Annotated[str, Meta(max_length=MAX_ID)]


class _Struct(msgspec.Struct, rename="camel"):
    pass


class DataSource(_Struct, tag_field="type", tag="data"):
    value: str
    mime_type: str


class UrlSource(_Struct, tag_field="type", tag="url"):
    value: str


class FileSource(_Struct, tag_field="type", tag="file"):
    value: str


Source = DataSource | UrlSource | FileSource


class TextPart(_Struct, tag_field="type", tag="text"):
    text: str


class ImagePart(_Struct, tag_field="type", tag="image"):
    source: Source


class AudioPart(_Struct, tag_field="type", tag="audio"):
    source: Source


class VideoPart(_Struct, tag_field="type", tag="video"):
    source: Source


class DocumentPart(_Struct, tag_field="type", tag="document"):
    source: Source


class BinaryPart(_Struct, tag_field="type", tag="binary"):
    """A part of versions before 1.0."""

    mime_type: str
    id: str | None = None
    url: str | None = None
    data: str | None = None


MediaPart = ImagePart | AudioPart | VideoPart | DocumentPart
Part = TextPart | MediaPart | BinaryPart
Content = str | list[Part]
_MEDIA_PARTS: dict[str, type[MediaPart]] = {"image": ImagePart, "audio": AudioPart, "video": VideoPart}


class FunctionCall(_Struct):
    name: str
    arguments: str


class ToolCall(_Struct):
    id: str
    function: FunctionCall


class DeveloperMessage(_Struct, tag_field="role", tag="developer"):
    content: str
    name: str | None = None


class SystemMessage(_Struct, tag_field="role", tag="system"):
    content: str
    name: str | None = None


class UserMessage(_Struct, tag_field="role", tag="user"):
    content: Content
    name: str | None = None


class AssistantMessage(_Struct, tag_field="role", tag="assistant"):
    content: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None


class ToolMessage(_Struct, tag_field="role", tag="tool"):
    content: Content
    tool_call_id: str
    error: str | None = None


class ActivityMessage(_Struct, tag_field="role", tag="activity"):
    pass


class ReasoningMessage(_Struct, tag_field="role", tag="reasoning"):
    pass


ConversationMessage = DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage
Message = ConversationMessage | ActivityMessage | ReasoningMessage
_ROLES: dict[type[Message], str] = {
    DeveloperMessage: "system",  # which frameworks know, unlike OpenAI's newer name for it
    SystemMessage: "system",
    UserMessage: "user",
    AssistantMessage: "assistant",
    ToolMessage: "tool",
}


class Tool(_Struct):
    name: str
    description: str | None = None
    parameters: Any = None


class ResumeEntry(_Struct):
    """The answer to an interrupt."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class RunAgentInput(_Struct):
    """The body of a request."""

    thread_id: Id
    run_id: Id
    messages: list[Message]
    protocol_version: str | None = None  # which versions before 1.0 do not send
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    state: Any | UnsetType = UNSET
    context: Any | UnsetType = UNSET
    forwarded_props: Any | UnsetType = UNSET
    resume: Annotated[list[ResumeEntry], Meta(max_length=1)] | None = None  # a run finishes with one


def conversation_of(body: RunAgentInput) -> Conversation:
    """Return what a client asks an agent.

    Messages with activities and reasoning are left out: no model takes them.

    Raises:
        InvalidRequest: A part of a message has no equivalent.
    """
    fields = {
        "threadId": body.thread_id,
        "runId": body.run_id,
        "state": body.state,
        "context": body.context,
        "forwardedProps": body.forwarded_props,
    }
    return Conversation(
        messages=[
            _message(message)
            for message in body.messages
            if not isinstance(message, ActivityMessage | ReasoningMessage)
        ],
        fields={name: value for name, value in fields.items() if value is not UNSET},
        tools=[_tool(tool) for tool in body.tools or []],
    )


def _message(message: ConversationMessage) -> dict[str, Any]:
    content: Any = message.content or ""
    if isinstance(content, list):
        content = [_part(part) for part in content]
    written = {"role": _ROLES[type(message)], "content": content}
    if isinstance(message, ToolMessage):
        written["tool_call_id"] = message.tool_call_id
        if message.error:
            written["content"] = [*_parts(content), *_parts(f"\n{message.error}")]
        return written
    if isinstance(message, AssistantMessage) and message.tool_calls:
        written["tool_calls"] = [
            tool_call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls
        ]
    if message.name is not None:
        written["name"] = message.name
    return written


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, BinaryPart):
        part = _media_part(part)
    source = part.source
    if isinstance(source, FileSource):
        return {"type": "file", "file": {"file_id": source.value}}
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": _url(source)}}
    if isinstance(source, UrlSource):
        kind = part.__struct_config__.tag
        raise InvalidRequest(f"send the content of {kind} parts as data: only images can be URLs")
    if isinstance(part, AudioPart) and (sound := AUDIO_FORMATS.get(source.mime_type.lower())):
        return {"type": "input_audio", "input_audio": {"data": source.value, "format": sound}}
    return {"type": "file", "file": {"file_data": _url(source)}}


def _media_part(part: BinaryPart) -> MediaPart:
    """Return a part of versions before 1.0, which name its content by one of three fields."""
    source: Source
    if part.data is not None:
        source = DataSource(part.data, part.mime_type)
    elif part.url is not None:
        source = UrlSource(part.url)
    elif part.id is not None:
        source = FileSource(part.id)
    else:
        raise InvalidRequest("a binary part needs data, url or id")
    return _MEDIA_PARTS.get(part.mime_type.partition("/")[0], DocumentPart)(source)


def _url(source: DataSource | UrlSource) -> str:
    if isinstance(source, UrlSource):
        return source.value
    return f"data:{source.mime_type};base64,{source.value}"


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    fields = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": fields}
