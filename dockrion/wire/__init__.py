"""How a stream is put into bytes and read back: SSE, NDJSON and WebSocket, without I/O.

Each module is a `Framing`: functions from events and control frames to bytes. `sse.Decoder` reads
SSE, which the client and agents behind HTTP speak. Imports only `dockrion.events`.
"""

from collections.abc import Sequence
from typing import Protocol

from dockrion.events import Entry
from dockrion.events.control_frames import Control


class Framing(Protocol):
    """The encoders of one format.

    Attributes:
        PREAMBLE: The bytes that a stream begins with.
    """

    PREAMBLE: bytes

    def encode_events(self, entries: Sequence[Entry], /) -> bytes:
        """Return the data frames of some events, to be written together."""

    def encode_control(self, control: Control, /) -> bytes:
        """Return a control frame."""

    def keepalive(self, heartbeat: bytes | None, /) -> bytes:
        """Return what an idle connection sends.

        Args:
            heartbeat: A heartbeat's JSON, None where the event filter lets none through.
        """


class HttpFraming(Framing, Protocol):
    """A format that is the body of an HTTP response."""

    MEDIA_TYPE: str
