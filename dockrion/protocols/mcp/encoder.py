"""The run that is a call of the tool: progress notifications, and the response at its end."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec

from dockrion.errors import DockrionError, Gone
from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice
from dockrion.protocols import State, json_rpc
from dockrion.protocols.json_rpc import INTERNAL_ERROR, Id
from dockrion.protocols.mcp import asking, elicitation, log_events
from dockrion.protocols.mcp.log_events import NULL
from dockrion.protocols.mcp.results import ResultForm
from dockrion.protocols.reply import INCOMPLETE, cancelled_message, output_text
from dockrion.protocols.reply_text import ReplyText
from dockrion.protocols.token_runs import EMPTY_TEXT, TokenRun, continuing, grouped, texts_after

ACTIVITY_SECONDS = 1.0  # how often progress is notified while events come that tell nothing about it
_NOTIFICATION = b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{%b}}\n\n'
_MIN_FRACTION = 1e-9  # of progress, so that the total stays a number
_replace = msgspec.structs.replace


class CallState(State, frozen=True, kw_only=True):
    """A call so far.

    Attributes:
        reply: What the agent has said.
        incomplete: Whether a part of that is no longer stored, so that only the output is its reply.
        notified_at: When progress was notified last, in seconds since the epoch.
        asked: The questions that the client is asked in the stream.
        response: The response, None before the end.
    """

    reply: ReplyText = ReplyText()
    incomplete: bool = False
    notified_at: float = 0.0
    asked: asking.Asked = ()
    response: bytes | None = None


class CallEncoder(msgspec.Struct, frozen=True):
    """Encodes the run that is a call.

    Attributes:
        id: The id of the call's request.
        request_state: Where the call goes on after a question.
        form: What results look like.
        progress_token: Names the call in its progress notifications; None for no notifications.
        structured: Whether the tool has an output schema.
        output_path: `agent.chat.output`.
        elicits: Whether the client is asked what the agent asks.
        answered: The sequence up to which the client is not asked again.
        problem: What was wrong with an answer to the question that does.
    """

    id: Id
    request_state: str
    form: ResultForm = ResultForm()
    progress_token: str | int | None = None
    structured: bool = False
    output_path: str | None = None
    elicits: bool = False
    answered: int = 0
    problem: str = ""

    def start(self) -> CallState:
        return CallState()

    def encode(self, state: CallState, entries: Sequence[Entry]) -> tuple[bytes, CallState]:
        if (continued := continuing(state.open_texts, entries)) is not None:
            return self._continue_text(state, continued[1], entries)
        writer = _Writer(self, state)
        writer.write(entries)
        return b"".join(writer.frames), writer.state

    def _continue_text(
        self, state: CallState, contents: list[bytes], entries: Sequence[Entry]
    ) -> tuple[bytes, CallState]:
        """Encode tokens that go on with a text that is open, as most pages are."""
        after = CallState(
            origin=state.origin,
            open_texts=state.open_texts,
            reply=state.reply.with_pieces(contents),
            notified_at=state.notified_at,
            asked=state.asked,
        )
        if self.progress_token is None or not _is_activity_due(state.notified_at, entries):
            return b"", after
        writer = _Writer(self, after)
        writer.notify_activity(entries)
        return b"".join(writer.frames), writer.state

    def encode_gap(self, state: CallState, gap: Gap) -> tuple[bytes, CallState]:
        origin = gap.first_available - 1
        if not gap.is_of_another_run:
            return b"", CallState(origin=origin, incomplete=True)
        response = self.error("this run was replaced by another", Gone.code)
        return _frame(response), _replace(state, origin=origin, ended=True, response=response)

    def encode_notice(self, _state: CallState, notice: Notice) -> bytes:
        return _frame(self.error(notice.message, notice.type.upper()))

    def error(self, message: str, code: str = DockrionError.code) -> bytes:
        """Return the response to a call that this service cannot answer."""
        return json_rpc.error_response(self.id, INTERNAL_ERROR, message, {"code": code})


class _Writer:
    """Writes events after a state.

    Args:
        encoder: The call's encoder.
        state: The state; afterwards, that after the events.
    """

    def __init__(self, encoder: CallEncoder, state: CallState) -> None:
        self.state = state
        self.frames: list[bytes] = []
        self._encoder = encoder

    def write(self, entries: Sequence[Entry]) -> None:
        """Write events, as far as the stream goes."""
        position = 0
        for entry, run in grouped(entries):
            if run is not None:
                end = position + len(run.contents)
                self._write_tokens(run)
                self.notify_activity(entries[position:end])
                position = end
                continue
            if self.state.open_texts:
                self.state = _replace(self.state, open_texts=())
            if self.state.asked:
                self._withdraw_questions(entry)
            self._WRITERS.get(entry.type, _Writer._write_other)(self, entry)
            position += 1
            if self.state.ended:
                break

    def _write_tokens(self, run: TokenRun) -> None:
        if self.state.incomplete:
            return
        before = self.state.reply
        goes_on = before.continued_by(run.origin)
        reply = before.after_tokens(run.contents, run.origin)
        if goes_on or reply is not before:
            texts = texts_after(self.state.open_texts, run, None, changed=not goes_on)
            self.state = _replace(self.state, reply=reply, open_texts=texts)

    def _write_started(self, entry: Entry) -> None:
        self._say(ReplyText())  # what an earlier attempt has said is no part of the reply
        self.notify_activity((entry,))

    def _write_message(self, entry: Entry) -> None:
        self._say(self.state.reply.after_message(entry.data))
        self.notify_activity((entry,))

    def _write_tool_call(self, entry: Entry) -> None:
        call = msgspec.json.decode(entry.data, type=log_events.ToolCall)
        self._say(self.state.reply.after_tool_call(call.source))
        self._notify(entry, msgspec.Raw(msgspec.json.encode(f"calls {call.name}")))

    def _write_step(self, entry: Entry) -> None:
        self._notify(entry, msgspec.json.decode(entry.data, type=log_events.Step).node_name)

    def _write_progress(self, entry: Entry) -> None:
        progress = msgspec.json.decode(entry.data, type=log_events.Progress)
        message = progress.step if progress.message == NULL else progress.message
        total = None
        if progress.progress >= _MIN_FRACTION and math.isfinite(progress.progress):
            total = entry.sequence / progress.progress
        self._notify(entry, message, total)

    def _write_question(self, entry: Entry) -> None:
        question = msgspec.json.decode(entry.data, type=log_events.Question)
        encoder = self._encoder
        if question.is_secret or not encoder.elicits:  # forms must not ask for secrets
            self._notify(entry, msgspec.Raw(msgspec.json.encode(question.prompt)))
        elif entry.sequence > encoder.answered:
            ask = self._ask_in_stream if encoder.form.handshake else self._ask_in_result
            ask(question, entry.sequence)

    def _ask_in_stream(self, question: log_events.Question, sequence: int) -> None:
        elicitation_id = f"{self._encoder.request_state}:{sequence}"
        request, asked = asking.ask(self.state.asked, question, elicitation_id)
        self.frames.append(_frame(request))
        self.state = _replace(self.state, asked=asked)

    def _ask_in_result(self, question: log_events.Question, _sequence: int) -> None:
        encoder = self._encoder
        message = "\n\n".join(filter(None, (question.prompt, encoder.problem)))
        asked = {"message": message, "requestedSchema": elicitation.form_of(question.schema)}
        request = {"method": "elicitation/create", "params": {"mode": "form", **asked}}
        fields = {"inputRequests": {question.request_id: request}, "requestState": encoder.request_state}
        self._respond(encoder.form.result(fields, "input_required"))
        self.state = _replace(self.state, ended=True)

    def _withdraw_questions(self, entry: Entry) -> None:
        messages, asked = asking.withdraw(self.state.asked, entry)
        if messages:
            self.frames.extend(map(_frame, messages))
            self.state = _replace(self.state, asked=asked)

    def _write_complete(self, entry: Entry) -> None:
        complete = msgspec.json.decode(entry.data, type=log_events.Complete)
        output, form = bytes(complete.output), self._encoder.form
        if self._encoder.structured:
            self._respond(self._structured(output, complete.metadata))
            return
        text = self.state.reply.json
        if text is not None:
            self._respond(form.text(text))
        elif complete.output != NULL:
            self._respond(form.text(output_text(output, self._encoder.output_path)))
        else:
            self._respond(form.failure(INCOMPLETE) if self.state.incomplete else form.text(EMPTY_TEXT))

    def _structured(self, output: bytes, metadata: msgspec.Raw) -> dict[str, Any]:
        form = self._encoder.form
        if output.startswith(b"{") and not log_events.output_errors(metadata):
            return form.structured(output)
        return form.failure(f"the agent's output does not match the tool's outputSchema: {output.decode()}")

    def _write_error(self, entry: Entry) -> None:
        self._respond(
            self._encoder.form.failure(msgspec.json.decode(entry.data, type=log_events.Error).error)
        )

    def _write_cancelled(self, entry: Entry) -> None:
        reason = msgspec.json.decode(entry.data, type=log_events.Cancelled).reason
        self._respond(self._encoder.form.failure(cancelled_message(reason)))

    def _write_other(self, entry: Entry) -> None:
        self.notify_activity((entry,))

    def _say(self, reply: ReplyText) -> None:
        if not self.state.incomplete and reply is not self.state.reply:
            self.state = _replace(self.state, reply=reply)

    def _respond(self, result: dict[str, Any]) -> None:
        response = json_rpc.result_response(self._encoder.id, result)
        self.frames.append(_frame(response))
        self.state = _replace(self.state, response=response)

    def notify_activity(self, entries: Sequence[Entry]) -> None:
        """Notify from time to time of progress about which the events tell nothing.

        Clients give up calls that are silent for too long, and comments in the stream do not count for them.
        """
        if self._encoder.progress_token is None or not _is_activity_due(self.state.notified_at, entries):
            return
        for entry in entries:
            if entry.emitted_at >= self.state.notified_at + ACTIVITY_SECONDS:
                self._notify(entry)

    def _notify(self, entry: Entry, message: msgspec.Raw | None = None, total: float | None = None) -> None:
        token = self._encoder.progress_token
        if token is None:
            return
        params = b'"progressToken":%b,"progress":%d' % (msgspec.json.encode(token), entry.sequence)
        if total is not None:
            params += b',"total":' + msgspec.json.encode(total)
        if message is not None:
            params += b',"message":' + message
        self.frames.append(_NOTIFICATION % params)
        self.state = _replace(self.state, notified_at=entry.emitted_at)

    _WRITERS: ClassVar[dict[str, Callable[["_Writer", Entry], None]]] = {
        "started": _write_started,
        "message": _write_message,
        "tool_call": _write_tool_call,
        "step": _write_step,
        "progress": _write_progress,
        "input_requested": _write_question,
        "complete": _write_complete,
        "error": _write_error,
        "cancelled": _write_cancelled,
    }


def _is_activity_due(notified_at: float, entries: Sequence[Entry]) -> bool:
    due = notified_at + ACTIVITY_SECONDS
    for entry in entries:  # noqa: SIM110  `any` takes three times as long
        if entry.emitted_at >= due:
            return True
    return False


def _frame(message: bytes) -> bytes:
    return b"data: %b\n\n" % message
