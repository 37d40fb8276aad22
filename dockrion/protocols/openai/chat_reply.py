"""What a run's events are in an assistant's reply: its text, reasoning and tool calls, and how it ends."""

import json
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal

import msgspec

from dockrion import events
from dockrion.errors import AgentPolicyViolation, Gone
from dockrion.events import Entry
from dockrion.protocols import State
from dockrion.protocols.conversation import text_of
from dockrion.protocols.reply import ASSISTANT_ROLES, reply_text

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
CANCELLED = "CANCELLED"
INCOMPLETE = "a part of the reply is no longer stored"
_EMPTY = b'""'
_NULL = b"null"
_PARAGRAPH = b'"\\n\\n"'
_encode = msgspec.json.encode
replace = msgspec.structs.replace
_type_of = attrgetter("type")
_COUNTS = ("input_tokens", "output_tokens", "total_tokens")


class Pieces(msgspec.Struct, frozen=True, gc=False):
    """Consecutive pieces of one field of the assistant's message.

    Attributes:
        field: The field.
        values: The pieces as JSON: strings, or for `tool_calls` objects without their `index`.
    """

    field: Literal["content", "reasoning_content", "refusal", "tool_calls"]
    values: list[bytes]


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The tokens that a run took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The end of a reply; without usage if the agent has reported none."""

    reason: FinishReason
    usage: Usage | None = None


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The end of a run without a reply."""

    code: str
    message: str
    details: Any = None


Part = Pieces | Finished | Failed


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a tool that the client executes, unless the agent does."""

    id: str
    name: str
    arguments: str


class ReplyState(State, frozen=True, kw_only=True):
    """What is known of a reply before an event.

    Attributes:
        begun: Whether any event was seen.
        incomplete: Whether a part of it is no longer stored, so that only the agent's output is shown.
        tool_calls: How many tool calls were shown.
        shown: Whether any text was shown.
        replied: Whether text of the agent was shown.
        paragraph: Whether the next text begins a paragraph whatever message it belongs to.
        messages: The ids of the messages that were shown; the empty string for one without an id.
        unnamed: Whether tokens without an id were shown that no `message` event has repeated yet.
        calls: The calls of the client's tools without a result.
    """

    begun: bool = False
    incomplete: bool = False
    tool_calls: int = 0
    shown: bool = False
    replied: bool = False
    paragraph: bool = False
    messages: frozenset[str] = frozenset()
    unnamed: bool = False
    calls: tuple[ToolCall, ...] = ()


class ReplyOptions(msgspec.Struct, frozen=True):
    """What the request and the Dockfile say about the reply.

    Attributes:
        output: `agent.chat.output`.
        show_tools: Whether the agent's tool calls are shown.
        client_tools: The names of the tools that the client executes.
    """

    output: str | None = None
    show_tools: bool = False
    client_tools: frozenset[str] = frozenset()


class _Token(msgspec.Struct, gc=False):
    content: msgspec.Raw
    message_id: str = ""


class _Reasoning(msgspec.Struct, gc=False):
    content: msgspec.Raw


class _Message(msgspec.Struct, gc=False):
    role: str
    content: msgspec.Raw
    message_id: str = ""


class _Prompt(msgspec.Struct, gc=False):
    prompt: msgspec.Raw


class _ToolCall(msgspec.Struct, gc=False):
    tool_call_id: str
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _ToolResult(msgspec.Struct, gc=False):
    tool_call_id: str


class _Complete(msgspec.Struct, gc=False):
    output: msgspec.Raw
    metadata: msgspec.Raw


class _Metadata(msgspec.Struct, gc=False):
    usage: dict[str, dict[str, int]] = {}
    truncated: bool = False


class _Error(msgspec.Struct, gc=False):
    error: str
    code: str
    details: msgspec.Raw = msgspec.Raw(b"null")


class _Cancelled(msgspec.Struct, gc=False):
    reason: str | None = None


_decode_token = msgspec.json.Decoder(_Token).decode
_decode_reasoning = msgspec.json.Decoder(_Reasoning).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_prompt = msgspec.json.Decoder(_Prompt).decode
_decode_tool_call = msgspec.json.Decoder(_ToolCall).decode
_decode_tool_result = msgspec.json.Decoder(_ToolResult).decode
_decode_complete = msgspec.json.Decoder(_Complete).decode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_decode_cancelled = msgspec.json.Decoder(_Cancelled).decode
_Advance = tuple[list[Part], ReplyState]


def advance(
    options: ReplyOptions, state: ReplyState, entries: Sequence[Entry]
) -> tuple[list[Part], ReplyState]:
    """Return the parts of a reply that consecutive events are, and the state after them."""
    parts: list[Part] = []
    decode = _decode_token
    if not state.begun:
        state = replace(state, begun=True)
    if state.incomplete:
        entries = [entry for entry in entries if entry.type in events.TERMINAL]
    for event_type, group in groupby(entries, _type_of):
        if event_type == "token":
            pieces, state = _tokens(state, [decode(entry.data) for entry in group])
            parts.append(pieces)
        elif (handle := _HANDLERS.get(event_type)) is not None:
            for entry in group:
                more, state = handle(options, state, entry.data)
                parts += more
    return parts, state


def _tokens(state: ReplyState, tokens: list[_Token]) -> tuple[Part, ReplyState]:
    if not state.paragraph and {token.message_id for token in tokens} <= state.messages:
        return Pieces("content", [token.content for token in tokens]), state
    values: list[bytes] = []
    for token in tokens:
        begins = state.paragraph or token.message_id not in state.messages
        if begins and bytes(token.content) != _EMPTY:
            values += _break(state)
            state = _with_message(state, token.message_id)
        values.append(token.content)
    return Pieces("content", values), state


def _started(_: ReplyOptions, state: ReplyState, _data: bytes) -> _Advance:
    """Begin anew; what an earlier attempt has shown stays."""
    return [], replace(
        state, replied=False, paragraph=state.shown, messages=frozenset(), unnamed=False, calls=()
    )


def _message(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    message = _decode_message(data)
    if message.role not in ASSISTANT_ROLES:
        return [], state
    name, known = message.message_id, state.messages
    repeated = state.unnamed or (name in known if name else bool(known))
    state = replace(_after_unnamed(state), unnamed=False)
    if repeated:
        return [], state
    content = bytes(message.content)
    text = content if content.startswith(b'"') else _encode(text_of(_decoded(content)))
    if text == _EMPTY:
        return [], state
    shown = _with_message(state, name)
    return _text(state, text), shown if name else replace(_after_unnamed(shown), unnamed=False)


def _reasoning(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    return [Pieces("reasoning_content", [_decode_reasoning(data).content])], state


def _question(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    """Show a question; whoever answers it does so elsewhere."""
    prompt = bytes(_decode_prompt(data).prompt)
    if prompt == _EMPTY:
        return [], state
    return _text(state, prompt), replace(state, shown=True, paragraph=True)


def _tool_call(options: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    decoded = _decode_tool_call(data)
    call = ToolCall(decoded.tool_call_id, decoded.name, bytes(decoded.arguments).decode())
    state = _after_unnamed(state)
    if call.name in options.client_tools:
        state = replace(state, calls=(*state.calls, call))
    return _calls(state, (call,) if options.show_tools else ())


def _tool_result(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    if state.calls:
        done = _decode_tool_result(data).tool_call_id
        state = replace(state, calls=tuple(call for call in state.calls if call.id != done))
    return [], _after_unnamed(state)


def _complete(options: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    complete = _decode_complete(data)
    output, (usage, truncated) = bytes(complete.output), _summary(complete.metadata)
    if state.calls:
        parts, state = _calls(state, () if options.show_tools else state.calls)
        return [*parts, Finished("tool_calls", usage)], state
    if state.incomplete and output == _NULL:
        return [Failed(Gone.code, INCOMPLETE)], state
    parts = []
    if not state.replied and output != _NULL:
        parts = _text(state, _encode(reply_text(_decoded(output), options.output)))
    return [*parts, Finished("length" if truncated else "stop", usage)], state


def _error(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    error = _decode_error(data)
    if error.code == AgentPolicyViolation.code:
        return [Pieces("refusal", [_encode(error.error)]), Finished("content_filter")], state
    return [Failed(error.code, error.error, _decoded(error.details))], state


def _cancelled(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    reason = _decode_cancelled(data).reason
    return [
        Failed(CANCELLED, f"the run was cancelled: {reason}" if reason else "the run was cancelled")
    ], state


_HANDLERS: dict[str, Callable[[ReplyOptions, ReplyState, bytes], _Advance]] = {
    "started": _started,
    "message": _message,
    "reasoning": _reasoning,
    "input_requested": _question,
    "tool_call": _tool_call,
    "tool_result": _tool_result,
    "complete": _complete,
    "error": _error,
    "cancelled": _cancelled,
}


def _text(state: ReplyState, text: bytes) -> list[Part]:
    return [Pieces("content", [*_break(state), text])]


def _break(state: ReplyState) -> list[bytes]:
    """Return what separates the next text from the one before."""
    return [_PARAGRAPH] if state.shown else []


def _with_message(state: ReplyState, message_id: str) -> ReplyState:
    """Return the state after text of a message."""
    return replace(
        state,
        shown=True,
        replied=True,
        paragraph=False,
        messages=state.messages | {message_id},
        unnamed=state.unnamed or not message_id,
    )


def _after_unnamed(state: ReplyState) -> ReplyState:
    """Return the state in which the next token without an id begins a new message."""
    return replace(state, messages=state.messages - {""}) if "" in state.messages else state


def _calls(state: ReplyState, calls: Sequence[ToolCall]) -> _Advance:
    values = [
        _encode(
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        )
        for call in calls
    ]
    return [Pieces("tool_calls", values)], replace(state, tool_calls=state.tool_calls + len(calls))


def _summary(metadata: bytes) -> tuple[Usage | None, bool]:
    """Return a run's usage, if it is known, and whether a policy has truncated its text."""
    try:
        decoded = _decode_metadata(metadata)
    except msgspec.DecodeError:  # the agent's own metadata
        return None, False
    if not decoded.usage:
        return None, decoded.truncated
    counts = [sum(each.get(name, 0) for each in decoded.usage.values()) for name in _COUNTS]
    return Usage(*counts), decoded.truncated


def _decoded(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:  # a number beyond those of msgspec
        return json.loads(bytes(value))
