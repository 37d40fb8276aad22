"""Other people's protocols: how their requests become calls, and how a run's log becomes their frames.

A protocol is an encoder of the log, without I/O and without state of its own. What it has to remember
between two events (which message is open, how many frames there were) is a `State`: an immutable value that
follows from the events before alone. So every reader who begins at the first event gets the same frames on
every replica, readers at one position share them, and for whoever resumes in the middle the events before
are encoded without being sent (`dockrion.web.protocols.resuming`).

Each protocol has a package of its own, imported only if the Dockfile names it. They share `conversation`,
which makes the agent's payload of messages; `reply`, which decides what of a run is the reply, `reply_text`
and `growing_text`, which collect it; `token_runs`, which reads tokens; `numbered_frames`, whose ids lead back
to an event; and `json_rpc`. May import `backends`, `dockfile` and `events`; never `web`.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice


class OpenText(msgspec.Struct, frozen=True):
    """A text that tokens go on with, which change nothing else; see `token_runs.continuing`.

    Attributes:
        fields: What these have after their content.
        text: What an encoder needs to write them.
    """

    fields: bytes
    text: Any


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder remembers between two events.

    Attributes:
        origin: The sequence after which it began: 0, or where a gap ended.
        ended: Whether the stream ends here, although the run may go on.
        open_texts: The texts that tokens have gone on with since the last event of another type.
    """

    origin: int = 0
    ended: bool = False
    open_texts: tuple[OpenText, ...] = ()


S = TypeVar("S", bound=State)


class Encoder(Protocol[S]):
    """Writes the events of one run as a protocol's frames.

    Encoders are frozen structs; equal ones write the same frames, so that their readers share them.
    """

    def start(self) -> S:
        """Return the state before the run's first event."""

    def encode(self, state: S, entries: Sequence[Entry], /) -> tuple[bytes, S]:
        """Return the frames of consecutive events, possibly none, and the state after them.

        Encoding events one by one gives the same frames. After an event that ends the stream, the rest of
        the entries is left out.

        Args:
            state: The state before the first of them.
            entries: At least one event.
        """

    def encode_gap(self, state: S, gap: Gap, /) -> tuple[bytes, S]:
        """Return the frames that say what was lost, and the state before the event `gap.first_available`.

        The state has `ended` if the protocol cannot go on. Otherwise its `origin` is the gap's end, and it
        depends on that alone: the readers who go on there share their frames, whatever each has had before.
        """

    def encode_notice(self, state: S, notice: Notice, /) -> bytes:
        """Return the frames with which a stream ends before the run does."""
