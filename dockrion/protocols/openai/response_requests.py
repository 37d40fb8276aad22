"""Requests for responses, as conversations with the agent."""

from collections.abc import Callable, Collection
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from dockrion.protocols.conversation import Conversation, tool_call
from dockrion.protocols.openai.errors import refuse, refuse_unmet

# What the frames of a run repeat is kept with the run's record, so that it is as small as OpenAI wants it.
MAX_MODEL = 256  # characters
MAX_METADATA = 16
MAX_TOOLS = 128
MAX_TOOL_NAME = 64  # characters
ModelName = Annotated[str, Meta(min_length=1, max_length=MAX_MODEL)]
_Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=MAX_METADATA),
]
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
T = TypeVar("T")
_STATELESS = "this service stores no conversations; send all messages in `input`"


class ResponseRequest(msgspec.Struct):
    """The body of a request, as far as it concerns more than the agent."""

    input: Annotated[list[dict[str, Any]], Meta(min_length=1)] | str
    model: ModelName | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    metadata: _Metadata | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    text: dict[str, Any] | None = None

    def stored(self) -> dict[str, Any]:
        """Return what encoding the run's events needs of the request."""
        return {
            "model": self.model,
            "metadata": self.metadata or {},
            "background": bool(self.background),
            "tools": [tool["name"] for tool in self.tools or ()],
        }


def conversation_of(
    request: ResponseRequest, fields: dict[str, Any], agent_fields: Collection[str]
) -> Conversation:
    """Return the conversation that a request is.

    Args:
        request: The request.
        fields: All fields of its body.
        agent_fields: The fields that `io_schema.input` has. What the agent gets, it may as well obey.

    Raises:
        InvalidRequest: An item or a tool cannot be given to an agent, or the request demands what this
            service does not have.
    """
    refuse_unmet(_demands(request), agent_fields)
    messages = _Messages(request.instructions)
    try:
        if isinstance(request.input, str):
            messages.add({"role": "user", "content": request.input})
        else:
            _each(request.input, messages.add_item, "input")
        tools = _each(request.tools or [], _tool, "tools")
    except _RefusedError as error:
        refuse(error.field, error.problem)
    return Conversation(messages.all, fields, tools)


def _demands(request: ResponseRequest) -> list[tuple[str, bool, str]]:
    """Return the fields whose demands a reply cannot meet: whether each demands anything, and the problem."""
    text_format = (request.text or {}).get("format")
    formatted = isinstance(text_format, dict) and text_format.get("type") != "text"
    return [
        ("previous_response_id", request.previous_response_id is not None, _STATELESS),
        ("conversation", request.conversation is not None, _STATELESS),
        ("prompt", request.prompt is not None, "this service has no stored prompts; send `instructions`"),
        ("text.format", formatted, "this agent decides itself what it writes; omit `text.format`"),
    ]


class _RefusedError(Exception):
    """A value cannot be given to an agent.

    Args:
        field: Its place, in what is converted where this is raised.
        problem: What is wrong with it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field
        self.problem = problem


def _each(values: list[Any], convert: Callable[[Any], T], field: str) -> list[T]:
    """Return what values are converted to."""
    converted = []
    for index, value in enumerate(values):
        try:
            converted.append(convert(value))
        except _RefusedError as error:
            raise _RefusedError(f"{field}[{index}]{error.field}", error.problem) from None
    return converted


class _Messages:
    """Collects the messages that items are."""

    def __init__(self, instructions: str | None) -> None:
        self.all: list[dict[str, Any]] = []
        if instructions:
            self.add({"role": "system", "content": instructions})

    def add(self, message: dict[str, Any]) -> None:
        self.all.append(message)

    def add_item(self, item: dict[str, Any]) -> None:
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind == "message":
            self.add(_message(item))
        elif kind == "function_call":
            arguments = _text(item, "arguments")
            self._add_call(_text(item, "call_id"), _text(item, "name"), arguments)
        elif kind == "function_call_output":
            output = _content(item.get("output"), ".output")
            self.add({"role": "tool", "tool_call_id": _text(item, "call_id"), "content": output})
        elif kind == "mcp_call":
            self._add_executed(item)
        elif kind != "reasoning":  # which is its model's alone
            problem = "nothing is stored under such ids; send the item itself"
            if kind != "item_reference":
                problem = f"this agent understands no items of the type {kind!s:.100}"
            raise _RefusedError("", problem)

    def _add_executed(self, item: dict[str, Any]) -> None:
        """Add a call that the agent of an earlier response has executed, with its result."""
        result = item.get("output")
        if result is None and item.get("error") is not None:
            result = msgspec.json.encode(item["error"]).decode()
        if isinstance(result, str):  # no result, no call: models refuse one without the other
            call_id = _text(item, "id")
            self._add_call(call_id, _text(item, "name"), _text(item, "arguments"))
            self.add({"role": "tool", "tool_call_id": call_id, "content": result})

    def _add_call(self, call_id: str, name: str, arguments: str) -> None:
        """Add a call to the assistant's message, of which it is an item of its own here."""
        if not self.all or self.all[-1]["role"] != "assistant":
            self.add({"role": "assistant", "content": ""})
        self.all[-1].setdefault("tool_calls", []).append(tool_call(call_id, name, arguments))


def _message(item: dict[str, Any]) -> dict[str, Any]:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise _RefusedError(".role", f"it must be one of {', '.join(_ROLES)}")
    return {"role": _ROLES[role], "content": _content(item.get("content"), ".content")}


def _content(content: Any, field: str) -> Any:
    if isinstance(content, list):
        return _each(content, _part, field)
    if not isinstance(content, str):
        raise _RefusedError(field, "it must be a string or a list of parts")
    return content


def _part(part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": _text(part, "text")}
    if kind == "refusal":
        return {"type": "text", "text": _text(part, "refusal")}
    if kind == "input_image":
        image = {"url": _text(part, "image_url")} | _texts_of(part, "detail")
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        file = {"file_data": _text(part, "file_data")} | _texts_of(part, "filename")
        return {"type": "file", "file": file}
    raise _RefusedError(
        "", "send parts of the type input_text, input_image (image_url) or input_file (file_data)"
    )


def _texts_of(part: dict[str, Any], name: str) -> dict[str, str]:
    """Return a field that a part may have."""
    return {name: part[name]} if isinstance(part.get(name), str) else {}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool of the client as Chat Completions has it."""
    if tool.get("type") != "function":
        raise _RefusedError(
            "", "this service executes no tools for its clients; send tools of the type function"
        )
    if len(_text(tool, "name")) > MAX_TOOL_NAME:
        raise _RefusedError(".name", f"it must have at most {MAX_TOOL_NAME} characters")
    names = ("name", "description", "parameters", "strict")
    return {
        "type": "function",
        "function": {name: tool[name] for name in names if tool.get(name) is not None},
    }


def _text(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise _RefusedError(f".{name}", "it must be a string")
    return value
