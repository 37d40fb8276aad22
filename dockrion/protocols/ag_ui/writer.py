"""Writes the events of a run's log as those of AG-UI."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from dockrion.events import CUSTOM_PREFIX, Entry
from dockrion.events.control_frames import Gap
from dockrion.protocols.ag_ui import log_events
from dockrion.protocols.ag_ui.event_writer import EventWriter
from dockrion.protocols.ag_ui.events import RunIds
from dockrion.protocols.ag_ui.log_events import NULL
from dockrion.protocols.ag_ui.state import RunState, add_usage, open_message, usage_field
from dockrion.protocols.numbered_frames import text_frames
from dockrion.protocols.reply import (
    ASSISTANT_ROLES,
    MAX_OPEN_CALLS,
    ShownMessages,
    cancelled_message,
    message_text,
    output_text,
)
from dockrion.protocols.token_runs import EMPTY_TEXT, TokenRun, grouped, texts_after

_STATE = "custom:values"  # that of a graph, with `arguments.stream_values`; other agents can emit it, too
_CUSTOM = frozenset({"progress", "checkpoint", "input_received"})


class Options(msgspec.Struct, frozen=True):
    """How a run is written.

    Attributes:
        answered: The sequence up to which questions do not end the stream.
        output_path: `agent.chat.output`.
        before_1_0: Whether the client speaks a version before 1.0, which takes a cancellation for an error.
    """

    answered: int = 0
    output_path: str | None = None
    before_1_0: bool = False


class Writer(EventWriter):
    """Writes a run's events after a state.

    Args:
        state: The state.
        ids: The ids of the run.
        options: How the run is written.
    """

    def __init__(self, state: RunState, ids: RunIds, options: Options) -> None:
        super().__init__(state, ids)
        self._options = options

    def write(self, entries: Sequence[Entry]) -> None:
        """Write events of the log, as far as the stream goes."""
        for entry, run in grouped(entries):
            if run is not None:
                self._write_tokens(entry.sequence, run)
            else:
                self._open_texts = ()
                self._write(entry)
            if self.ended:
                break

    def write_gap(self, gap: Gap) -> None:
        """Write what was lost; whatever is open is closed, since its end may be lost."""
        self._close_all()
        self._custom("gap", {"requested": gap.requested, "first_available": gap.first_available})

    def _write(self, entry: Entry) -> None:
        self._sequence, self._number = entry.sequence, 0
        if (write := self._WRITERS.get(entry.type)) is not None:
            write(self, entry.data)
        elif entry.type in _CUSTOM:
            self._custom(entry.type, log_events.own_fields(entry.data))
        elif entry.type.startswith(CUSTOM_PREFIX):
            self._write_custom(entry.type, log_events.own_fields(entry.data))

    def _write_custom(self, event_type: str, fields: msgspec.Raw) -> None:
        if event_type == _STATE and (state := log_events.state_of(fields)) is not None:
            self._write_event("STATE_SNAPSHOT", snapshot=state)
        else:
            self._write_event("CUSTOM", name=event_type.removeprefix(CUSTOM_PREFIX), value=fields)

    def _write_tokens(self, first: int, run: TokenRun) -> None:
        origin = run.origin
        message_id, source = origin.message_id or None, origin.source or None
        message = open_message(self._open, "text", message_id, source)
        sequences, contents = run.with_text(first)  # earlier versions of the protocol refuse empty text
        self._sequence, self._number = first, 0
        is_new = message is None
        if message is None and contents:
            self._sequence, sequences = sequences[0], sequences[1:]
            message = self._start("text", message_id, source)
            self._append(message, contents[0])
            contents = contents[1:]
        if message is not None:
            self._open_texts = texts_after(self._open_texts, run, message.delta, changed=is_new)
            self.frames.append(text_frames(message.delta, sequences, contents))
            if origin.finish_reason is not None:  # and the token is the only one
                self._number += len(contents)
                self._close(message)

    def _write_reasoning(self, data: bytes) -> None:
        piece = msgspec.json.decode(data, type=log_events.Reasoning)
        if bytes(piece.content) != EMPTY_TEXT:
            message_id, source = piece.message_id or None, piece.source or None
            message = open_message(self._open, "reasoning", message_id, source)
            self._append(message or self._start("reasoning", message_id, source), piece.content)

    def _write_message(self, data: bytes) -> None:
        """Write a whole message of the assistant, unless its tokens were written."""
        message = msgspec.json.decode(data, type=log_events.Message)
        if message.role not in ASSISTANT_ROLES:
            return
        message_id, source = message.message_id or None, message.source or None
        is_shown = self._messages.include(message_id or "", source or "")
        for named in (message_id, None):
            if (opened := open_message(self._open, "text", named, source)) is not None:
                self._close(opened)
        text = message_text(bytes(message.content))
        if not is_shown and text != EMPTY_TEXT:
            opened = self._start("text", message_id, source, message.name)
            self._append(opened, text)
            self._close(opened)
        self._messages = self._messages.after_message(message_id or "", source or "")

    def _write_tool_call(self, data: bytes) -> None:
        call = msgspec.json.decode(data, type=log_events.ToolCall)
        if not self._is_new(f"call {call.tool_call_id}"):  # it would append to the arguments
            return
        self._pending = (*self._pending[-MAX_OPEN_CALLS + 1 :], call.tool_call_id)
        self._messages = self._messages.after_tool_call(call.source or "")
        self._close_source(call.source or None)
        parent = {"parentMessageId": self._text_id(call.message_id)} if call.message_id else {}
        self._write_event("TOOL_CALL_START", toolCallId=call.tool_call_id, toolCallName=call.name, **parent)
        if call.arguments_text:
            self._write_event("TOOL_CALL_ARGS", toolCallId=call.tool_call_id, delta=call.arguments_text)
        self._write_event("TOOL_CALL_END", toolCallId=call.tool_call_id)

    def _write_tool_result(self, data: bytes) -> None:
        result = msgspec.json.decode(data, type=log_events.ToolResult)
        if not self._is_new(f"result {result.tool_call_id}"):
            return
        self._pending = tuple(each for each in self._pending if each != result.tool_call_id)
        self._write_event(
            "TOOL_CALL_RESULT",
            messageId=self._unnamed_id(),
            toolCallId=result.tool_call_id,
            content=result.text,
            role="tool",
            **({"metadata": {"isError": True}} if result.is_error else {}),
        )

    def _write_usage(self, data: bytes) -> None:
        self._usage = add_usage(self._usage, msgspec.json.decode(data, type=log_events.Usage).counts)
        self._custom("usage", log_events.own_fields(data))

    def _write_step(self, data: bytes) -> None:
        """Write a step that has finished: when it started, nobody could know its name."""
        name = msgspec.json.decode(data, type=log_events.Step).node_name
        self._write_event("STEP_STARTED", stepName=name)
        self._write_event("STEP_FINISHED", stepName=name)

    def _write_started(self, data: bytes) -> None:
        attempt = msgspec.json.decode(data, type=log_events.Started).attempt
        if attempt == 1:
            self._begin()
            return
        self._attempt = attempt
        self._close_all()
        self._messages = ShownMessages()
        self._has_text = False
        self._custom("attempt", log_events.own_fields(data))

    def _write_input_requested(self, data: bytes) -> None:
        question = msgspec.json.decode(data, type=log_events.InputRequested)
        interrupt = {
            "id": f"{self._ids.log_id}:{question.request_id}",
            "reason": "input_required",
            "message": question.prompt,
            **({} if question.schema == NULL else {"responseSchema": question.schema}),
            **({} if question.expires_at is None else {"expiresAt": question.expires_at}),
        }
        self._finish({"type": "interrupt", "interrupts": [interrupt]})
        self.ended = self._sequence > self._options.answered

    def _write_complete(self, data: bytes) -> None:
        complete = msgspec.json.decode(data, type=log_events.Complete)
        if not (self._has_text or self._pending or self._ends_with_known_message(complete)):
            self._write_reply(output_text(bytes(complete.output), self._options.output_path))
        self._finish({"type": "success"}, **({} if complete.output == NULL else {"result": complete.output}))

    def _ends_with_known_message(self, complete: log_events.Complete) -> bool:
        """Return whether a graph's output ends with what was said before its last question."""
        message_id = complete.message_id
        return message_id in self._messages.ids

    def _write_reply(self, text: bytes) -> None:
        self._close_all()
        if text != EMPTY_TEXT:
            self._append(self._start("text", None, None), text)

    def _write_error(self, data: bytes) -> None:
        error = msgspec.json.decode(data, type=log_events.Error)
        details = {} if error.details == NULL else {"metadata": {"details": error.details}}
        self._fail(error.error, error.code, **details)

    def _write_cancelled(self, data: bytes) -> None:
        reason = msgspec.json.decode(data, type=log_events.Cancelled).reason
        if self._options.before_1_0:
            self._fail(cancelled_message(reason), "CANCELLED")
        else:
            fields: dict[str, Any] = {} if reason is None else {"metadata": {"reason": reason}}
            self._finish({"type": "cancelled"}, **fields)

    def _fail(self, message: str, code: str, **fields: Any) -> None:
        self._close_all()
        self._write_event("RUN_ERROR", message=message, code=code, **fields, **usage_field(self._usage))
        self._active = False

    def _finish(self, outcome: dict[str, Any], **fields: Any) -> None:
        """Finish the AG-UI run; the next event of the log begins another."""
        self._close_all()
        fields |= {"outcome": outcome, **usage_field(self._usage)}
        self._write_event("RUN_FINISHED", threadId=self._ids.thread_id, runId=self._ids.run_id, **fields)
        self._active = self._has_text = False
        self._pending, self._usage = (), ()

    _WRITERS: ClassVar[dict[str, Callable[["Writer", bytes], None]]] = {
        "started": _write_started,
        "reasoning": _write_reasoning,
        "message": _write_message,
        "tool_call": _write_tool_call,
        "tool_result": _write_tool_result,
        "usage": _write_usage,
        "step": _write_step,
        "input_requested": _write_input_requested,
        "complete": _write_complete,
        "error": _write_error,
        "cancelled": _write_cancelled,
    }
