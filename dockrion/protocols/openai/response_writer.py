"""A run's events as the frames of a response, and what has to be remembered between them."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from dockrion.errors import AgentPolicyViolation
from dockrion.events import Entry
from dockrion.protocols import State
from dockrion.protocols.openai import log_events
from dockrion.protocols.openai.response_frames import Frames, in_json
from dockrion.protocols.openai.response_items import ItemsWriter
from dockrion.protocols.openai.response_object import MAX_COUNT, ResponseInfo, Usage
from dockrion.protocols.openai.response_output import Items, ToolRequest
from dockrion.protocols.reply import (
    ASSISTANT_ROLES,
    ShownMessages,
    from_json,
    message_text,
    metadata_of,
    output_text,
)
from dockrion.protocols.token_runs import EMPTY_TEXT, TokenRun, grouped, texts_after

_FILTERED = "content_filter"
_INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": _FILTERED}


class ResponseState(State, frozen=True, kw_only=True):
    """A response so far.

    Attributes:
        frames: How many frames there were.
        items: Its output.
        attempts: How often the agent has begun.
        messages: Which messages of the agent were written.
        finish_reason: Why the last message ended, if that is known.
        usage: None until the agent reports any.
        lost: Whether events were missing.
        final: The JSON of the response, once it is over.
    """

    frames: int = 0
    items: Items = Items()
    attempts: int = 0
    messages: ShownMessages = ShownMessages()
    finish_reason: str | None = None
    usage: Usage | None = None
    lost: bool = False
    final: bytes = b""


class ResponseWriter:
    """Writes events one after the other.

    Args:
        info: The response.
        state: The response so far.
    """

    def __init__(self, info: ResponseInfo, state: ResponseState) -> None:
        self._info = info
        self._before = state
        self._frames = frames = Frames(state.frames)
        self._items = ItemsWriter(frames, state.items, info.run_id, info.agent)
        self._attempts = state.attempts
        self._messages = state.messages
        self._finish_reason = state.finish_reason
        self._usage = state.usage
        self._final = state.final
        self._open_texts = state.open_texts  # their keys

    def data(self) -> bytes:
        """Return the frames."""
        return self._frames.data()

    def state(self) -> ResponseState:
        """Return the response as it is now."""
        return msgspec.structs.replace(
            self._before,
            frames=self._frames.count,
            items=Items() if self._final else self._items.items(),
            attempts=self._attempts,
            messages=self._messages,
            finish_reason=self._finish_reason,
            usage=self._usage,
            final=self._final,
            open_texts=self._open_texts,
        )

    def write(self, entries: Sequence[Entry]) -> None:
        """Write events."""
        for entry, run in grouped(entries):
            if run is not None:
                self._tokens(run)
                continue
            self._open_texts = ()
            if (write := self._WRITERS.get(entry.type)) is not None:
                write(self, entry)

    def _started(self, _entry: Entry) -> None:
        self._attempts += 1
        if self._attempts > 1:
            self._items.begin_again()
            self._messages = ShownMessages()
            self._finish_reason = None
        else:
            response = self._info.response("in_progress", b"[]")
            self._frames.add(b"response.in_progress", b'"response":' + response)

    def _tokens(self, run: TokenRun) -> None:
        origin = run.origin
        key = log_events.key_of(origin.message_id, origin.source)
        was_open = self._items.is_message(key)
        if self._write(key, run.contents, is_reasoning=False):
            messages = self._messages.after_token(origin.message_id or "", origin.source or "")
            changed = not was_open or messages is not self._messages
            self._open_texts = texts_after(self._open_texts, run, key, changed=changed)
            self._messages = messages
        if origin.finish_reason is not None:
            self._items.close_text(key)
            self._finish_reason = origin.finish_reason

    def _reasoning(self, entry: Entry) -> None:
        event = log_events.decode_reasoning(entry.data)
        self._write(event.key, [bytes(event.content)], is_reasoning=True)

    def _message(self, entry: Entry) -> None:
        event = log_events.decode_message(entry.data)
        if event.role not in ASSISTANT_ROLES:
            return
        if not self._messages.include(event.message_id, event.source):
            self._write(event.key, [message_text(bytes(event.content))], is_reasoning=False)
        self._messages = self._messages.after_message(event.message_id, event.source)
        self._items.close_text(event.key)
        self._items.close_text(log_events.key_of("", event.source))

    def _question(self, entry: Entry) -> None:
        """Show a question; whoever answers it does so elsewhere."""
        replied = self._items.replied
        self._write_message(bytes(log_events.decode_question(entry.data).prompt))
        self._items.replied = replied

    def _tool_call(self, entry: Entry) -> None:
        event = log_events.decode_tool_call(entry.data)
        self._messages = self._messages.after_tool_call(event.source)
        self._items.close_text(event.key)
        self._items.close_text(log_events.key_of("", event.source))
        request = ToolRequest(in_json(event.name), event.arguments_text)
        by_client = event.name in self._info.client_tools
        self._items.request(event.tool_call_id, request, by_client=by_client)

    def _tool_result(self, entry: Entry) -> None:
        event = log_events.decode_tool_result(entry.data)
        self._items.end_call(event.tool_call_id, log_events.quoted(event.result), is_error=event.is_error)

    def _count_usage(self, entry: Entry) -> None:
        event = log_events.decode_usage(entry.data)
        read, written = event.input_tokens or 0, event.output_tokens or 0
        total = read + written if event.total_tokens is None else event.total_tokens
        details = from_json(event.details) or {}
        cached = _count_in(details, "input_token_details", "cache_read")
        reasoning = _count_in(details, "output_token_details", "reasoning")
        before = msgspec.structs.astuple(self._usage or Usage())
        sums = map(sum, zip(before, (read, written, total, cached, reasoning), strict=True))
        self._usage = Usage(*(min(each, MAX_COUNT) for each in sums))

    def _complete(self, entry: Entry) -> None:
        event = log_events.decode_complete(entry.data)
        metadata = metadata_of(event.metadata)
        items, output = self._items, bytes(event.output)
        items.close_all(b"completed")
        if self._before.lost:
            items.forget_messages()
        if not items.hand_over_calls() and not items.replied and output != log_events.NULL:
            self._write_message(output_text(output, self._info.output_path))
        if (totals := metadata.totals) is not None:  # reported also if the Dockfile filters the events
            self._usage = (self._usage or Usage()).with_totals(totals)
        reason = _INCOMPLETE_REASONS.get(metadata.stop_reason(self._finish_reason))
        if reason is None:
            self._end("completed", completed_at=int(entry.emitted_at))
        else:
            self._end("incomplete", incomplete_details={"reason": reason})

    def _error(self, entry: Entry) -> None:
        event = log_events.decode_error(entry.data)
        self._items.close_all(b"incomplete")
        if event.code == AgentPolicyViolation.code:
            self._end("incomplete", incomplete_details={"reason": _FILTERED})
        else:
            self._end("failed", error={"code": "server_error", "message": event.error})

    def _cancelled(self, _entry: Entry) -> None:
        self._items.close_all(b"incomplete")
        self._end("cancelled")

    def _write_message(self, text: bytes) -> None:
        """Write a whole message, given as JSON."""
        if text != EMPTY_TEXT:
            self._items.write("", [text], is_reasoning=False)
            self._items.close_text("")

    def _write(self, key: str, pieces: list[bytes], *, is_reasoning: bool) -> bool:
        """Write pieces of a text, and return whether they are any."""
        if EMPTY_TEXT in pieces:
            pieces = [piece for piece in pieces if piece != EMPTY_TEXT]
        if pieces:
            self._items.write(key, pieces, is_reasoning=is_reasoning)
        return bool(pieces)

    def _end(self, status: str, **fields: Any) -> None:
        usage = None if self._usage is None else self._usage.counts()
        output = self._items.output()
        self._final = self._info.response(status, output, usage=usage, **fields)
        # The API has no event for the end of a response that is cancelled.
        event = b"incomplete" if status == "cancelled" else status.encode()
        self._frames.add(b"response." + event, b'"response":' + self._final)

    _WRITERS: ClassVar[dict[str, Callable[["ResponseWriter", Entry], None]]] = {
        "started": _started,
        "message": _message,
        "reasoning": _reasoning,
        "tool_call": _tool_call,
        "tool_result": _tool_result,
        "input_requested": _question,
        "usage": _count_usage,
        "complete": _complete,
        "error": _error,
        "cancelled": _cancelled,
    }


def _count_in(details: dict[str, Any], group: str, name: str) -> int:
    """Return a count that LangChain's models report among the details of their usage."""
    counts = details.get(group)
    count = counts.get(name) if isinstance(counts, dict) else None
    return max(count, 0) if isinstance(count, int) else 0
