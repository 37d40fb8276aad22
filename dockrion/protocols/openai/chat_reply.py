"""What a run's events are in an assistant's reply: its text, reasoning and tool calls, and how it ends."""

from collections.abc import Callable, Sequence

import msgspec

from dockrion import events
from dockrion.errors import AgentPolicyViolation, Gone
from dockrion.events import Entry
from dockrion.protocols.conversation import tool_call
from dockrion.protocols.growing_text import PARAGRAPH
from dockrion.protocols.openai import log_events
from dockrion.protocols.openai.chat_parts import (
    Failed,
    Finished,
    Part,
    Pieces,
    ReplyOptions,
    ReplyState,
    ToolCall,
    Usage,
)
from dockrion.protocols.reply import (
    ASSISTANT_ROLES,
    INCOMPLETE,
    MAX_OPEN_CALLS,
    ShownMessages,
    cancelled_message,
    message_text,
    metadata_of,
    output_text,
)
from dockrion.protocols.token_runs import EMPTY_TEXT, Origin, TokenRun, grouped, texts_after

CANCELLED = "CANCELLED"
_encode = msgspec.json.encode
replace = msgspec.structs.replace
_Advance = tuple[list[Part], ReplyState]


def advance(
    options: ReplyOptions, state: ReplyState, entries: Sequence[Entry]
) -> tuple[list[Part], ReplyState]:
    """Return the parts of a reply that consecutive events are, and the state after them."""
    parts: list[Part] = []
    if not state.begun:
        state = replace(state, begun=True)
    if state.incomplete:
        entries = [entry for entry in entries if entry.type in events.TERMINAL]
    for entry, run in grouped(entries):
        if run is not None:
            pieces, state = _tokens(state, run)
            parts.append(pieces)
            continue
        if state.open_texts:
            state = replace(state, open_texts=())
        if (handle := _HANDLERS.get(entry.type)) is not None:
            more, state = handle(options, state, entry.data)
            parts += more
    return parts, state


def _goes_on(state: ReplyState, origin: Origin) -> bool:
    """Return whether a token goes on with the text before it."""
    return not state.paragraph and state.messages.continued_by(origin.message_id or "", origin.source or "")


def _tokens(state: ReplyState, run: TokenRun) -> tuple[Part, ReplyState]:
    contents, origin, _ = run
    if _goes_on(state, origin):
        texts = texts_after(state.open_texts, run, None, changed=False)
        if texts is not state.open_texts:
            state = replace(state, open_texts=texts)
    else:
        first = next((index for index, content in enumerate(contents) if content != EMPTY_TEXT), None)
        if first is not None:
            contents = [*contents[:first], *_break(state), *contents[first:]]
            messages = state.messages.after_token(origin.message_id or "", origin.source or "")
            texts = texts_after(state.open_texts, run, None, changed=True)
            state = replace(_replied(state, messages), open_texts=texts)
    if origin.finish_reason is not None:
        state = replace(state, finish_reason=origin.finish_reason)
    return Pieces("content", contents), state


def _started(_: ReplyOptions, state: ReplyState, _data: bytes) -> _Advance:
    """Start over; what an earlier attempt has shown stays."""
    state = replace(state, replied=False, paragraph=state.shown, messages=ShownMessages())
    return [], replace(state, calls=(), finish_reason=None)


def _message(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    message = log_events.decode_message(data)
    if message.role not in ASSISTANT_ROLES:
        return [], state
    is_shown = state.messages.include(message.message_id, message.source)
    messages = state.messages.after_message(message.message_id, message.source)
    if is_shown:
        return [], replace(state, messages=messages)
    text = message_text(bytes(message.content))
    if text == EMPTY_TEXT:
        return [], state
    return _text(state, text), _replied(state, messages)


def _reasoning(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    return [Pieces("reasoning_content", [bytes(log_events.decode_reasoning(data).content)])], state


def _question(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    """Show a question; whoever answers it does so elsewhere."""
    prompt = bytes(log_events.decode_question(data).prompt)
    if prompt == EMPTY_TEXT:
        return [], state
    return _text(state, prompt), replace(state, shown=True, paragraph=True)


def _tool_call(options: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    decoded = log_events.decode_tool_call(data)
    arguments = msgspec.json.decode(decoded.arguments_text, type=str)
    call = ToolCall(decoded.tool_call_id, decoded.name, arguments)
    state = replace(state, messages=state.messages.after_tool_call(decoded.source))
    if call.name in options.client_tools:
        state = replace(state, calls=(*state.calls[-MAX_OPEN_CALLS + 1 :], call))
    return _calls(state, (call,) if options.show_tools else ())


def _tool_result(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    if state.calls:
        done = log_events.decode_tool_result(data).tool_call_id
        state = replace(state, calls=tuple(call for call in state.calls if call.id != done))
    return [], state


def _complete(options: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    complete = log_events.decode_complete(data)
    output, metadata = bytes(complete.output), metadata_of(complete.metadata)
    usage = None if metadata.totals is None else Usage(*msgspec.structs.astuple(metadata.totals))
    if state.calls:
        parts, state = _calls(state, () if options.show_tools else state.calls)
        return [*parts, Finished("tool_calls", usage)], state
    if state.incomplete and output == log_events.NULL:
        return [Failed(Gone.code, INCOMPLETE)], state
    parts = []
    if not state.replied and output != log_events.NULL:
        parts = _text(state, output_text(output, options.output))
    return [*parts, Finished(metadata.stop_reason(state.finish_reason), usage)], state


def _error(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    error = log_events.decode_error(data)
    if error.code == AgentPolicyViolation.code:
        return [Pieces("refusal", [_encode(error.error)]), Finished("content_filter")], state
    return [Failed(error.code, error.error)], state


def _cancelled(_: ReplyOptions, state: ReplyState, data: bytes) -> _Advance:
    return [Failed(CANCELLED, cancelled_message(log_events.decode_cancelled(data).reason))], state


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
    return [PARAGRAPH] if state.shown else []


def _replied(state: ReplyState, messages: ShownMessages) -> ReplyState:
    """Return the state after text of the agent."""
    return replace(state, shown=True, replied=True, paragraph=False, messages=messages)


def _calls(state: ReplyState, calls: Sequence[ToolCall]) -> _Advance:
    values = [_encode(tool_call(call.id, call.name, call.arguments)) for call in calls]
    return [Pieces("tool_calls", values)], replace(state, tool_calls=state.tool_calls + len(calls))
