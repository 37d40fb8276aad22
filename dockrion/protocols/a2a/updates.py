"""What a run's events are to its task: changes of its status, pieces of the reply, and the output."""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import msgspec

from dockrion import events
from dockrion.events import Entry
from dockrion.events.control_frames import Gap
from dockrion.protocols import State
from dockrion.protocols.a2a.objects import Status, TaskState
from dockrion.protocols.reply import ASSISTANT_ROLES, INCOMPLETE, ShownMessages, message_text, output_text
from dockrion.protocols.token_runs import EMPTY_TEXT, TokenRun, grouped, texts_after

_NULL = b"null"
_encode = msgspec.json.Encoder().encode


class Text(msgspec.Struct, frozen=True, gc=False):
    """Consecutive pieces of the reply.

    Attributes:
        sequences: Those of their events.
        pieces: The pieces as JSON.
        first: Whether the reply begins with them.
    """

    sequences: Sequence[int]
    pieces: list[bytes]
    first: bool


class Output(msgspec.Struct, frozen=True, gc=False):
    """The agent's output as JSON."""

    value: bytes


Update = Text | Output | Status


class StreamState(State, frozen=True, kw_only=True):
    """What is known of a task before an event.

    Attributes:
        incomplete: Whether a part of the reply is no longer stored, so that only the output is shown.
        has_reply: Whether anything of the reply was written.
        said: Whether the agent has said anything since it was started.
        messages: Which of its messages were written.
    """

    incomplete: bool = False
    has_reply: bool = False
    said: bool = False
    messages: ShownMessages = ShownMessages()


class UpdateOptions(msgspec.Struct, frozen=True):
    """How a run is read.

    Attributes:
        task_id: The run.
        output_path: `agent.chat.output`.
        answered: The sequence up to which questions do not end the stream.
    """

    task_id: str
    output_path: str | None = None
    answered: int = 0


class _OfSource(msgspec.Struct):
    message_id: str = ""
    source: str = ""


class _Message(_OfSource, kw_only=True):
    role: str
    content: msgspec.Raw


class _Progress(msgspec.Struct):
    step: str
    message: str | None = None


class _Started(msgspec.Struct):
    attempt: int = 1


class _Question(msgspec.Struct):
    prompt: msgspec.Raw


class _Complete(msgspec.Struct):
    output: msgspec.Raw
    latency_seconds: float
    metadata: msgspec.Raw


class _Error(msgspec.Struct):
    error: msgspec.Raw


class _Cancelled(msgspec.Struct):
    reason: str | None = None


class Updates:
    """Reads a run's events after a state.

    Args:
        options: How they are read.
        state: The state.

    Attributes:
        state: The state after what was read.
    """

    def __init__(self, options: UpdateOptions, state: StreamState) -> None:
        self.state = state
        self._options = options
        self._sequence = 0

    def read(self, entries: Sequence[Entry]) -> Iterator[tuple[int, Update]]:
        """Yield what events are, each with the sequence of its event, as far as the stream goes."""
        for entry, run in grouped(entries):
            self._sequence = entry.sequence
            if run is not None:
                text = self._tokens(run)
                if text is not None:
                    yield text.sequences[0], text
                continue
            if self.state.open_texts:
                self._change(open_texts=())
            read = self._READERS.get(entry.type, Updates._other)
            for update in read(self, entry):
                yield entry.sequence, update
            if self.state.ended:
                break

    def _tokens(self, run: TokenRun) -> Text | None:
        state, origin = self.state, run.origin
        sequences, contents = run.with_text(self._sequence)
        if state.incomplete or not contents:
            return None
        message_id, source = origin.message_id or "", origin.source or ""
        if state.messages.continued_by(message_id, source):
            self._change(open_texts=texts_after(state.open_texts, run, None, changed=False))
            return Text(sequences, contents, first=False)
        text = self._text(sequences, contents)
        self._change(
            messages=state.messages.after_token(message_id, source),
            open_texts=texts_after(state.open_texts, run, None, changed=True),
        )
        return text

    def _text(self, sequences: Sequence[int], pieces: list[bytes]) -> Text:
        """Return text of another message than the one before."""
        if self.state.said:
            pieces = [b'"\\n\\n' + pieces[0][1:], *pieces[1:]]
        text = Text(sequences, pieces, first=not self.state.has_reply)
        self._change(has_reply=True, said=True)
        return text

    def _message(self, entry: Entry) -> Iterator[Update]:
        message = msgspec.json.decode(entry.data, type=_Message)
        if message.role not in ASSISTANT_ROLES:
            yield from self._other(entry)
            return
        messages, named = self.state.messages, (message.message_id, message.source)
        is_shown, text = messages.include(*named), message_text(bytes(message.content))
        if text == EMPTY_TEXT and not is_shown:
            return
        if not (is_shown or self.state.incomplete):
            yield self._text((entry.sequence,), [text])
        self._change(messages=messages.after_message(*named))

    def _started(self, entry: Entry) -> Iterator[Update]:
        yield from self._other(entry)
        if msgspec.json.decode(entry.data, type=_Started).attempt > 1:
            self._change(said=False, messages=ShownMessages())
            if self.state.has_reply:  # what an earlier attempt has said is no part of it
                yield Text((entry.sequence,), [EMPTY_TEXT], first=True)

    def _tool_call(self, entry: Entry) -> Iterator[Update]:
        source = msgspec.json.decode(entry.data, type=_OfSource).source
        self._change(messages=self.state.messages.after_tool_call(source))
        yield from self._other(entry)

    def _progress(self, entry: Entry) -> Iterator[Update]:
        progress = msgspec.json.decode(entry.data, type=_Progress)
        yield self._status("working", entry, _encode(progress.message or progress.step))

    def _question(self, entry: Entry) -> Iterator[Update]:
        question = msgspec.json.decode(entry.data, type=_Question)
        yield self._status("input-required", entry, bytes(question.prompt))
        self._change(ended=entry.sequence > self._options.answered)

    def _complete(self, entry: Entry) -> Iterator[Update]:
        complete, state = msgspec.json.decode(entry.data, type=_Complete), self.state
        output = bytes(complete.output)
        if not state.said and output != _NULL:
            text = output_text(output, self._options.output_path)
            if text != EMPTY_TEXT:
                yield self._text((entry.sequence,), [text])
        if output != _NULL and not output.startswith(b'"'):
            yield Output(output)
        event = {
            "type": "complete",
            "latency_seconds": complete.latency_seconds,
            "metadata": complete.metadata,
        }
        lost = _encode(INCOMPLETE) if state.incomplete and output == _NULL else None
        status = self._status("completed", entry, lost)
        yield msgspec.structs.replace(status, event=_encode(event))

    def _error(self, entry: Entry) -> Iterator[Update]:
        error = msgspec.json.decode(entry.data, type=_Error)
        yield self._status("failed", entry, bytes(error.error))

    def _cancelled(self, entry: Entry) -> Iterator[Update]:
        cancelled = msgspec.json.decode(entry.data, type=_Cancelled)
        reason = None if cancelled.reason is None else _encode(cancelled.reason)
        yield self._status("canceled", entry, reason)

    def _other(self, entry: Entry) -> Iterator[Update]:
        yield self._status("working", entry)

    def _heartbeat(self, _entry: Entry) -> Iterator[Update]:
        yield from ()

    def _status(self, state: TaskState, entry: Entry, message: bytes | None = None) -> Status:
        message_id = b'"%b:%d"' % (self._options.task_id.encode(), entry.sequence)
        timestamp, own_fields = events.timestamp_and_own_fields(entry.data)
        return Status(state, timestamp, message, message_id, _event(entry.type, own_fields))

    def _change(self, **fields: object) -> None:
        self.state = msgspec.structs.replace(self.state, **fields)

    _READERS: ClassVar[dict[str, Callable[["Updates", Entry], Iterator[Update]]]] = {
        "started": _started,
        "message": _message,
        "tool_call": _tool_call,
        "progress": _progress,
        "heartbeat": _heartbeat,
        "input_requested": _question,
        "complete": _complete,
        "error": _error,
        "cancelled": _cancelled,
    }


def gap_update(gap: Gap) -> Status:
    """Return the update that says what was lost."""
    return Status("working", event=_encode(gap))


def _event(event_type: str, own_fields: bytes) -> bytes:
    """Return an event without the fields that every event has, as JSON."""
    rest = own_fields[1:] if own_fields == b"{}" else b"," + own_fields[1:]
    return b'{"type":%b%b' % (_encode(event_type), rest)
