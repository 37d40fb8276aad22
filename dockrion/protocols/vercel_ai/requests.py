"""UI messages of the Vercel AI SDK, which a request consists of, as messages of a conversation."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import msgspec

from dockrion.errors import InvalidRequest
from dockrion.protocols.conversation import AUDIO_FORMATS, Conversation, tool_call

MAX_CHAT_ID = 2048  # characters; a longer one would not fit into the path of a request
_MAX_MESSAGE_ID = 256  # characters; the id is kept with the run
_REGENERATE = "regenerate-message"
_IGNORED = ("reasoning", "source-url", "source-document")
_WITH_RESULT = ("output-available", "output-error", "output-denied")


class UIMessage(msgspec.Struct, frozen=True):
    """A message of a chat page, as far as it matters here. What the page keeps for itself is ignored."""

    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]]
    id: str = ""


class ChatRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a request, as the SDK's `DefaultChatTransport` sends it, without further fields."""

    messages: list[UIMessage]
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CHAT_ID)] | None = None
    trigger: str | None = None
    message_id: str | None = None

    @property
    def continued_message_id(self) -> str | None:
        """The id of the assistant's message that the reply goes on with, None if it is a new message.

        Raises:
            InvalidRequest: It is too long.
        """
        if not self.messages or self.trigger == _REGENERATE or self.messages[-1].role != "assistant":
            return None
        message_id = self.messages[-1].id
        if len(message_id) > _MAX_MESSAGE_ID:
            raise InvalidRequest(f"the id of the last message has more than {_MAX_MESSAGE_ID} characters")
        return message_id or None


def conversation_of(request: ChatRequest, fields: dict[str, Any]) -> Conversation:
    """Return what a request asks of the agent.

    Args:
        request: The request.
        fields: The other fields of its body.

    Raises:
        InvalidRequest: A part of a message cannot be converted.
    """
    messages = list(request.messages)
    if request.trigger == _REGENERATE:
        while messages and messages[-1].role == "assistant":
            messages.pop()
    converted = [each for number, message in enumerate(messages) for each in _converted(number, message)]
    return Conversation(converted, fields)


def _converted(number: int, message: UIMessage) -> Iterator[dict[str, Any]]:
    parts = list(_known_parts(number, message.parts))
    if message.role == "assistant":
        yield from _assistant_messages(parts)
        return
    content = [block for part in parts if (block := _block(part)) is not None]
    yield {"role": message.role, "content": content or ""}


def _known_parts(number: int, parts: Iterable[dict[str, Any]]) -> Iterator["_Part"]:
    """Yield the parts that matter to an agent.

    Raises:
        InvalidRequest: A part is malformed, or of an unknown type.
    """
    for index, part in enumerate(parts):
        kind = part.get("type")
        if not isinstance(kind, str):
            raise InvalidRequest(f"messages[{number}].parts[{index}] has no type")
        if kind in _IGNORED or kind.startswith("data-"):
            continue
        name = "tool" if kind == "dynamic-tool" or kind.startswith("tool-") else kind
        struct = _PARTS.get(name)
        if struct is None:
            known = "text, file, tool-…, dynamic-tool or step-start"
            raise InvalidRequest(f"messages[{number}].parts[{index}]: unknown type {kind:.100}; send {known}")
        try:
            yield msgspec.convert(part, struct)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"messages[{number}].parts[{index}]: {error}") from None


class _Text(msgspec.Struct, frozen=True):
    text: str


class _File(msgspec.Struct, frozen=True, rename="camel"):
    url: str
    media_type: str
    filename: str | None = None


class _StepStart(msgspec.Struct, frozen=True):
    pass


class _Approval(msgspec.Struct, frozen=True):
    reason: str | None = None


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    """A call of a tool, with its result if there is one."""

    type: str
    tool_call_id: str
    state: str
    tool_name: str = ""
    input: Any = None
    raw_input: Any = None
    output: Any = None
    error_text: str = ""
    approval: _Approval = _Approval()

    @property
    def call(self) -> dict[str, Any]:
        name = self.tool_name if self.type == "dynamic-tool" else self.type.removeprefix("tool-")
        sent = self.raw_input if self.input is None else self.input
        arguments = msgspec.json.encode({} if sent is None else sent).decode()
        return tool_call(self.tool_call_id, name, arguments)

    @property
    def result(self) -> dict[str, Any]:
        content = self.output
        if self.state == "output-error":
            content = self.error_text
        elif self.state == "output-denied":
            content = self.approval.reason or "the user has denied this call"
        if not isinstance(content, str):
            content = msgspec.json.encode(content).decode()
        return {"role": "tool", "tool_call_id": self.tool_call_id, "content": content}


_Part = _Text | _File | _StepStart | _Tool
_PARTS: dict[str, type[_Part]] = {"text": _Text, "file": _File, "step-start": _StepStart, "tool": _Tool}


def _assistant_messages(parts: Iterable[_Part]) -> Iterator[dict[str, Any]]:
    """Yield the messages of the steps: what was said, the calls of tools, and their results.

    Calls without a result are left out, since models refuse them.
    """
    content: list[dict[str, Any]] = []
    tools: list[_Tool] = []
    for part in parts:
        if isinstance(part, _Tool):
            if part.state in _WITH_RESULT:
                tools.append(part)
            continue
        if tools or isinstance(part, _StepStart):
            yield from _step(content, tools)
            content, tools = [], []
        if (block := _block(part)) is not None:
            content.append(block)
    yield from _step(content, tools)


def _step(content: list[dict[str, Any]], tools: list[_Tool]) -> Iterator[dict[str, Any]]:
    if content or tools:
        calls = {"tool_calls": [tool.call for tool in tools]} if tools else {}
        yield {"role": "assistant", "content": content or "", **calls}
    for tool in tools:
        yield tool.result


def _block(part: _Part) -> dict[str, Any] | None:
    """Return a part of a message as OpenAI's Chat Completions API writes it, None for no content."""
    if isinstance(part, _Text):
        return {"type": "text", "text": part.text} if part.text else None
    if not isinstance(part, _File):
        return None
    media_type = part.media_type.lower()
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": part.url}}
    head, comma, data = part.url.partition(",")
    if media_type in AUDIO_FORMATS and comma and head.startswith("data:") and head.endswith(";base64"):
        return {"type": "input_audio", "input_audio": {"data": data, "format": AUDIO_FORMATS[media_type]}}
    name = {} if part.filename is None else {"filename": part.filename}
    return {"type": "file", "file": {"file_data": part.url, **name}}
