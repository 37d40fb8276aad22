"""Writes AG-UI events in the order that the protocol demands.

A message is opened when its first text comes, and closed when its source goes on to something else, at the
latest before the run finishes. Messages of several sources may be open at once. An id that comes again after
its message was closed continues that message.
"""

from typing import Any

import msgspec

from dockrion.protocols.ag_ui import events
from dockrion.protocols.ag_ui.events import MessageKind, RunIds
from dockrion.protocols.ag_ui.state import OpenMessage, RunState
from dockrion.protocols.numbered_frames import frame

_MAX_OPEN = 64  # messages; the oldest is closed before one more is opened
_MAX_KNOWN = 512  # tool calls and results


class EventWriter:
    """Writes AG-UI events after a state.

    Args:
        state: The state.
        ids: The ids of the run.

    Attributes:
        frames: What was written.
        ended: Whether the stream ends here.
    """

    def __init__(self, state: RunState, ids: RunIds) -> None:
        self.frames: list[bytes] = []
        self.ended = state.ended
        self._ids = ids
        self._sequence = 0  # of the log event that is written; 0 for none, whose frames have no id
        self._number = 0  # of its frames so far
        self._origin = state.origin
        self._active = state.active
        self._attempt = state.attempt
        self._open = list(state.open)
        self._messages = state.messages
        self._known = state.known
        self._has_text = state.has_text
        self._pending = state.pending
        self._usage = state.usage
        self._open_texts = state.open_texts  # the formats of their frames

    @property
    def state(self) -> RunState:
        """The state after what was written."""
        return RunState(
            origin=self._origin,
            ended=self.ended,
            active=self._active,
            attempt=self._attempt,
            open=tuple(self._open),
            messages=self._messages,
            known=self._known,
            has_text=self._has_text,
            pending=self._pending,
            usage=self._usage,
            open_texts=self._open_texts,
        )

    def _start(
        self, kind: MessageKind, message_id: str | None, source: str | None, name: str | None = None
    ) -> OpenMessage:
        self._close_source(source)
        if len(self._open) == _MAX_OPEN:
            self._close(self._open[0])
        if message_id is None:
            own_id = self._unnamed_id()
        elif kind == "text":
            own_id = self._text_id(message_id)
        else:
            own_id = self._own_id("r", message_id)
        message = OpenMessage(kind, own_id, message_id, source, events.delta_format(kind, own_id))
        self._open.append(message)
        if kind == "text":
            self._has_text = True
            self._messages = self._messages.after_token(message_id or "", source or "")
        self._write_events(events.message_started(kind, own_id, name))
        return message

    def _append(self, message: OpenMessage, text: bytes | msgspec.Raw) -> None:
        self._number += 1
        self.frames.append(message.delta % (self._sequence, self._number, text))

    def _close(self, message: OpenMessage) -> None:
        self._open.remove(message)
        self._write_events(events.message_ended(message.kind, message.id))

    def _close_source(self, source: str | None) -> None:
        """Close what a source has said: it goes on to something else."""
        for message in [each for each in self._open if each.source == source]:
            self._close(message)

    def _close_all(self) -> None:
        for message in tuple(self._open):
            self._close(message)

    def _own_id(self, kind: str, agent_id: str) -> str:
        """Return an id for what an agent has named: unique over all runs of a thread."""
        attempt = "" if self._attempt == 1 else f"{self._attempt}"
        return f"{self._ids.log_id}:{kind}{attempt}:{agent_id}"

    def _text_id(self, message_id: str) -> str:
        return self._own_id("m", message_id)

    def _unnamed_id(self) -> str:
        return f"{self._ids.log_id}:{self._sequence}"

    def _custom(self, name: str, value: Any) -> None:
        """Write what AG-UI has no event for. Agents cannot emit such a name."""
        self._write_event("CUSTOM", name=f"dockrion.{name}", value=value)

    def _begin(self) -> None:
        if not self._active:
            self._active = True
            self._frame(self._ids.run_started)

    def _write_event(self, event_type: str, **fields: Any) -> None:
        self._write_events([events.event(event_type, **fields)])

    def _write_events(self, data: list[bytes]) -> None:
        self._begin()
        for each in data:
            self._frame(each)

    def _frame(self, data: bytes) -> None:
        self._number += 1
        self.frames.append(frame(data, self._sequence, self._number))

    def _is_new(self, mark: str) -> bool:
        """Mark something as written; return whether it was not."""
        new = mark not in self._known
        if new:
            self._known = (*self._known[-_MAX_KNOWN + 1 :], mark)
        return new
