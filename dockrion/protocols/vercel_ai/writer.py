"""What each type of event becomes in the client's message."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec

from dockrion.events import CUSTOM_PREFIX, Entry, own_fields
from dockrion.protocols.reply import ASSISTANT_ROLES, ShownMessages, StopReason, metadata_of, output_text
from dockrion.protocols.token_runs import TokenRun, grouped, texts_after
from dockrion.protocols.vercel_ai import chunks, log_events
from dockrion.protocols.vercel_ai.chunks import DONE, START_STEP, chunk, json_text
from dockrion.protocols.vercel_ai.content import chunks_beside_text, text_in
from dockrion.protocols.vercel_ai.message import MessageWriter
from dockrion.protocols.vercel_ai.state import MessageState, UsageTotals

_ABOUT_QUESTIONS = ("input_requested", "input_received")
_PROGRESS = b'"progress"'  # the id of the one part that is updated
_UNKNOWN_TOOL = b'"tool"'
_NULL = b"null"
_FINISH_REASONS: dict[StopReason, bytes] = {
    "stop": b'"stop"',
    "length": b'"length"',
    "content_filter": b'"content-filter"',
}


class EventWriter:
    """Writes events that follow a state.

    Args:
        message: Writes the message, as far as it is written in the state.
        state: The state before the first event.
        output_path: `agent.chat.output`.
    """

    __slots__ = (
        "_finish_reason",
        "_message",
        "_open_texts",
        "_output_path",
        "_replied",
        "_shown",
        "_state",
        "_usage",
    )

    def __init__(self, message: MessageWriter, state: MessageState, output_path: str | None) -> None:
        self._message = message
        self._state = state
        self._output_path = output_path
        self._shown = state.shown
        self._replied = state.replied
        self._finish_reason = state.finish_reason
        self._usage = state.usage
        self._open_texts = state.open_texts  # the ids of the parts

    @property
    def state(self) -> MessageState:
        """The state after what is written."""
        message = self._message
        return MessageState(
            origin=self._state.origin,
            started=message.started,
            parts=message.parts,
            calls=message.calls,
            returned=message.returned,
            shown=self._shown,
            replied=self._replied,
            finish_reason=self._finish_reason,
            usage=self._usage,
            open_texts=self._open_texts,
        )

    def write(self, entries: Sequence[Entry]) -> None:
        """Write events."""
        for entry, run in grouped(entries):
            if run is not None:
                self._write_tokens(entry.sequence, run)
            else:
                self._open_texts = ()
                self._write(entry)

    def _write(self, entry: Entry) -> None:
        write = self._writers.get(entry.type)
        if write is not None:
            write(self, entry)
        elif entry.type.startswith(CUSTOM_PREFIX):
            self._write_data(entry)

    def _write_tokens(self, sequence: int, run: TokenRun) -> None:
        """Write consecutive tokens of one message, of which `sequence` is the first."""
        origin = run.origin
        message_id, source = origin.message_id or None, origin.source or None
        sequences, texts = run.with_text(sequence)
        if texts:
            sequence = sequences[0]
            part_id = self._message.write_deltas(b"text", sequence, message_id, source, texts)
            shown = self._shown.after_token(message_id or "", source or "")
            changed = part_id == sequence or shown is not self._shown or not self._replied
            self._open_texts = texts_after(self._open_texts, run, part_id, changed=changed)
            self._shown, self._replied = shown, True
        if origin.finish_reason is not None:
            self._finish_reason = origin.finish_reason
            self._open_texts = ()
            self._message.close_parts(lambda part: part.message_id == message_id and part.source == source)

    def _write_started(self, entry: Entry) -> None:
        if not self._message.started:
            self._message.start()
            return
        event = log_events.started_of(entry.data)
        self._shown, self._replied, self._finish_reason = ShownMessages(), False, None
        attempt = {"attempt": event.attempt, "previous": event.previous}
        self._message.finish_step(chunks.data_part(b"attempt", attempt), START_STEP)

    def _write_reasoning(self, entry: Entry) -> None:
        event = log_events.reasoning_of(entry.data)
        message_id, source = event.message_id or None, event.source or None
        self._message.write_deltas(b"reasoning", entry.sequence, message_id, source, (bytes(event.content),))

    def _write_message(self, entry: Entry) -> None:
        event = log_events.message_of(entry.data)
        if event.role not in ASSISTANT_ROLES:
            return
        message_id, source = event.message_id or None, event.source or None
        self._message.close_parts(
            lambda part: part.message_id == message_id if part.message_id else part.source == source
        )
        of_message = message_id or "", source or ""
        is_shown = self._shown.include(*of_message)
        self._shown = self._shown.after_message(*of_message)
        if isinstance(event.content, str):
            if event.content and not is_shown:
                self._write_text(entry.sequence, json_text(event.content))
            return
        for block in event.content:
            if not is_shown and (text := text_in(block)):
                self._write_text(entry.sequence, text)
            if beside := chunks_beside_text(block):
                self._message.write_content(*beside)
                self._replied = True

    def _write_text(self, sequence: int, text: bytes) -> None:
        self._message.write_text(sequence, text)
        self._replied = True

    def _write_tool_call(self, entry: Entry) -> None:
        event = log_events.tool_call_of(entry.data)
        source = event.source or None
        self._shown = self._shown.after_tool_call(source or "")
        self._message.close_parts(lambda part: part.source == source)
        self._message.write_call(bytes(event.tool_call_id), bytes(event.name), bytes(event.arguments))

    def _write_tool_result(self, entry: Entry) -> None:
        event = log_events.tool_result_of(entry.data)
        name = bytes(event.name) if bytes(event.name) != _NULL else _UNKNOWN_TOOL
        call, result = bytes(event.tool_call_id), bytes(event.result)
        self._message.write_result(call, name, result, is_error=event.is_error)

    def _write_usage(self, entry: Entry) -> None:
        event, before = log_events.usage_of(entry.data), self._usage
        read, written = event.input_tokens or 0, event.output_tokens or 0
        self._usage = UsageTotals(
            before.input_tokens + read,
            before.output_tokens + written,
            before.total_tokens + (read + written if event.total_tokens is None else event.total_tokens),
        )
        counts = msgspec.structs.astuple(self._usage)
        sums = b'{"usage":{"inputTokens":%d,"outputTokens":%d,"totalTokens":%d}}' % counts
        self._message.write(chunk(b"message-metadata", messageMetadata=sums))

    def _write_data(self, entry: Entry) -> None:
        """Write an event that has no part of its own in the protocol: its fields, as data of its type."""
        part_id = _PROGRESS if entry.type == "progress" else None
        if entry.type in _ABOUT_QUESTIONS:
            part_id = bytes(log_events.about_question_of(entry.data).request_id)
        name = entry.type.removeprefix(CUSTOM_PREFIX).encode()
        self._message.write(chunks.data_part(name, own_fields(entry.data), part_id))

    def _write_complete(self, entry: Entry) -> None:
        end = log_events.end_of(entry.data)
        if not self._replied:
            self._write_text(entry.sequence, output_text(bytes(end.output), self._output_path))
        reason = _FINISH_REASONS[metadata_of(end.metadata).stop_reason(self._finish_reason)]
        self._message.finish_step(chunk(b"finish", finishReason=reason), DONE)

    def _write_error(self, entry: Entry) -> None:
        error = chunk(b"error", errorText=bytes(log_events.end_of(entry.data).error))
        self._message.finish_step(error, chunk(b"finish", finishReason=b'"error"'), DONE)

    def _write_cancelled(self, entry: Entry) -> None:
        reason = bytes(log_events.end_of(entry.data).reason)
        abort = chunk(b"abort") if reason == _NULL else chunk(b"abort", reason=reason)
        self._message.finish_step(abort, DONE)

    _writers: ClassVar[dict[str, Callable[["EventWriter", Entry], None]]] = {
        "started": _write_started,
        "reasoning": _write_reasoning,
        "message": _write_message,
        "tool_call": _write_tool_call,
        "tool_result": _write_tool_result,
        "usage": _write_usage,
        **dict.fromkeys(("progress", "step", "checkpoint", *_ABOUT_QUESTIONS), _write_data),
        "complete": _write_complete,
        "error": _write_error,
        "cancelled": _write_cancelled,
    }
