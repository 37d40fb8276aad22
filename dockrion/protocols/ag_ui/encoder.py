"""The events of a run as those of AG-UI."""

from collections.abc import Sequence

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice
from dockrion.protocols.ag_ui import events
from dockrion.protocols.ag_ui.events import RunIds
from dockrion.protocols.ag_ui.state import RunState
from dockrion.protocols.ag_ui.writer import Options, Writer
from dockrion.protocols.numbered_frames import frame, text_frames
from dockrion.protocols.token_runs import continuing


class RunEncoder(msgspec.Struct, frozen=True):
    """Encodes the events of a run.

    The id of a frame is the sequence of its log event and, after a dot, its number among that event's frames.

    Attributes:
        ids: The ids of the run.
        options: How the run is written.
    """

    ids: RunIds
    options: Options = Options()

    def start(self) -> RunState:
        return RunState()

    def encode(self, state: RunState, entries: Sequence[Entry]) -> tuple[bytes, RunState]:
        if (continued := continuing(state.open_texts, entries)) is not None:
            delta, texts = continued
            first = entries[0].sequence
            return text_frames(delta, range(first, first + len(texts)), texts), state
        writer = self._writer(state)
        writer.write(entries)
        return b"".join(writer.frames), writer.state

    def encode_gap(self, state: RunState, gap: Gap) -> tuple[bytes, RunState]:
        if gap.is_of_another_run:  # whose messages are others
            data = events.event("RUN_ERROR", message="this run was replaced by another", code="GAP")
            return frame(data, 0, 0), RunState(origin=gap.first_available - 1, ended=True)
        writer = self._writer(state)
        writer.write_gap(gap)
        return b"".join(writer.frames), RunState(origin=gap.first_available - 1, active=True)

    def encode_notice(self, _state: RunState, notice: Notice) -> bytes:
        """Return an error, since clients take a stream that just ends for a run that has finished."""
        error = events.event("RUN_ERROR", message=notice.message, code=notice.type.upper())
        return frame(error, 0, 0)

    def _writer(self, state: RunState) -> Writer:
        return Writer(state, self.ids, self.options)
