"""The events of a run as the stream of a task, and as the task that they come to."""

from collections.abc import Sequence

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice
from dockrion.protocols import State
from dockrion.protocols.a2a.errors import TASK_NOT_FOUND, error_data
from dockrion.protocols.a2a.objects import ENDED, Object, Status, TaskState, Writer
from dockrion.protocols.a2a.updates import (
    Output,
    StreamState,
    Text,
    UpdateOptions,
    Updates,
    gap_update,
)
from dockrion.protocols.growing_text import GrowingText
from dockrion.protocols.json_rpc import INTERNAL_ERROR, error_response
from dockrion.protocols.numbered_frames import frame, text_frames
from dockrion.protocols.token_runs import continuing

_LINE_ENDS = tuple((each.encode(), f"\\u{ord(each):04x}".encode()) for each in "\x85\u2028\u2029")


class StreamEncoder(msgspec.Struct, frozen=True):
    """Writes the stream of a task.

    The id of a frame is the sequence of its log event and, after a dot, its number among that event's frames.

    Attributes:
        writer: Writes the objects.
        options: How the run is read.
    """

    writer: Writer
    options: UpdateOptions

    def start(self) -> StreamState:
        return StreamState()

    def encode(self, state: StreamState, entries: Sequence[Entry]) -> tuple[bytes, StreamState]:
        if (continued := continuing(state.open_texts, entries)) is not None:
            first, texts = entries[0].sequence, continued[1]
            return _one_line_each(self._texts(range(first, first + len(texts)), texts)), state
        updates, frames = Updates(self.options, state), []
        written, number = 0, 0  # the event of the last frame, and its number
        formats: dict[tuple[TaskState, bool], bytes] = {}  # of statuses
        for sequence, update in updates.read(entries):
            number = number + 1 if sequence == written else 1
            written = sequence
            if isinstance(update, Text) and number == 1 and not update.first:
                frames.append(self._texts(update.sequences, update.pieces))
            elif isinstance(update, Text):
                first_format = self.writer.reply_format(append=not update.first)
                frames.append(first_format % (sequence, number, update.pieces[0]))
                if len(update.pieces) > 1:
                    frames.append(self._texts(update.sequences[1:], update.pieces[1:]))
            elif isinstance(update, Output):
                frames.append(frame(self.writer.output_update(update.value), sequence, number))
            else:
                kind = update.state, update.message is not None
                if (status_format := formats.get(kind)) is None:
                    formats[kind] = status_format = self.writer.status_format(kind[0], has_message=kind[1])
                message = (update.message_id, update.message) if kind[1] else ()
                frames.append(status_format % (sequence, number, *message, update.timestamp, update.event))
        return b"".join(map(_one_line_each, frames)), updates.state

    def encode_gap(self, _state: StreamState, gap: Gap) -> tuple[bytes, StreamState]:
        if gap.is_of_another_run:
            return self._error_frame(TASK_NOT_FOUND, "this task was replaced by another"), _after_gap(gap)
        return frame(self.writer.status_update(gap_update(gap)), 0, 0), _after_gap(gap)

    def encode_notice(self, _state: StreamState, notice: Notice) -> bytes:
        return self._error_frame(INTERNAL_ERROR, notice.message, notice.type)

    def opening(self, task: Object, after: int = 0) -> bytes:
        """Return the frame that begins a stream with the whole task.

        Args:
            task: The task.
            after: The sequence of the last event that it has; the frame's id, 0 for none.
        """
        return b"id: %d\n%b" % (after, _one_line_each(frame(self.writer.task_response(task), 0, 0)))

    def _texts(self, sequences: Sequence[int], pieces: Sequence[bytes]) -> bytes:
        return text_frames(self.writer.reply_format(append=True), sequences, pieces)

    def _error_frame(self, code: int, message: str, reason: str = "") -> bytes:
        data = error_data(code, reason.upper())
        return frame(error_response(self.writer.request_id, code, message, data), 0, 0)


class Snapshot(State, frozen=True, kw_only=True):
    """A task so far.

    Attributes:
        stream: The state of its stream.
        reply: The reply, None before its first piece.
        output: The agent's output as JSON.
        status: The last status.
        question: The last status in which the agent has asked something.
    """

    stream: StreamState = StreamState()
    reply: GrowingText | None = None
    output: bytes | None = None
    status: Status = Status("submitted")
    question: Status | None = None

    def task(self, writer: Writer, *, waiting: bool = False) -> Object:
        """Return the task.

        Args:
            writer: Writes the objects.
            waiting: Whether the run's record says that the agent waits for an answer.
        """
        status, reply = self.status, self.reply
        if waiting and self.question is not None and status.state not in ENDED:
            status = self.question
        return writer.task(status, None if reply is None else reply.json(), self.output)


class TaskEncoder(msgspec.Struct, frozen=True):
    """Collects a task in the state, for a response that is not a stream; it writes no frames.

    Attributes:
        options: How the run is read.
    """

    options: UpdateOptions

    def start(self) -> Snapshot:
        return Snapshot()

    def encode(self, state: Snapshot, entries: Sequence[Entry]) -> tuple[bytes, Snapshot]:
        updates = Updates(self.options, state.stream)
        reply, output, status, question = state.reply, state.output, state.status, state.question
        for sequence, update in updates.read(entries):
            if isinstance(update, Text):
                before = GrowingText() if update.first or reply is None else reply
                reply = before.with_pieces(update.pieces)
            elif isinstance(update, Output):
                output = update.value
            elif update.state == "input-required":
                question = update
                status = update if sequence > self.options.answered else status
            else:
                status = update
        stream = updates.state
        return b"", Snapshot(
            origin=state.origin,
            ended=stream.ended,
            stream=stream,
            reply=reply,
            output=output,
            status=status,
            question=question,
        )

    def encode_gap(self, _state: Snapshot, gap: Gap) -> tuple[bytes, Snapshot]:
        stream = _after_gap(gap)
        status = Status("working")
        return b"", Snapshot(origin=stream.origin, ended=stream.ended, stream=stream, status=status)

    def encode_notice(self, _state: Snapshot, _notice: Notice) -> bytes:
        return b""


def _one_line_each(frames: bytes) -> bytes:
    """Escape what ends a line for some clients, a2a-sdk among them, but not in the format of the stream."""
    if frames.isascii():
        return frames
    for character, escaped in _LINE_ENDS:
        if character[-1:] in frames:  # to look for one byte takes a fraction of the time
            frames = frames.replace(character, escaped)
    return frames


def _after_gap(gap: Gap) -> StreamState:
    origin = gap.first_available - 1
    return StreamState(origin=origin, ended=gap.is_of_another_run, incomplete=True)
