"""What readers make of the responses of an agent's server: events, and with what a response ends. No I/O."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.outcome import Failed, Outcome
from dockrion.runs.question import Question

MAX_PART_BYTES = 10 * 1024 * 1024


class Interruption(msgspec.Struct, frozen=True):
    """What an agent asks at the end of a response; it goes on in the response to another request.

    Attributes:
        questions: The questions.
        resumed: Returns the body of that request, from the body before it and the answers in the order of
            the questions, `UNSET` for those that were not there in time.
        reader_for: Returns a reader for its response, which knows what was read before; None for a new one.
        headers: Further headers of that request.
    """

    questions: list[Question]
    resumed: Callable[[bytes, list[Any]], bytes]
    reader_for: "Callable[[str], ResponseReader] | None" = None
    headers: dict[str, str] = {}


class Lost(msgspec.Struct, frozen=True):
    """The end of a response before that of the work.

    Attributes:
        outcome: The run's, if the work cannot be followed in the response to another request.
        alive: Whether the server has just said that the work goes on.
    """

    outcome: Failed
    alive: bool = False


class Begun(msgspec.Struct, frozen=True):
    """Work that goes on when the connection is closed, until another request stops it.

    Attributes:
        stop_body: The body of that request, to the same URL.
        follow: Returns the request whose response goes on with it, as an interruption without questions.
    """

    stop_body: bytes
    follow: Callable[[], Interruption]


Result = Outcome | Interruption | Lost  # with which a response ends
Part = ExternalEvent | Begun | Result


class ProtocolError(Exception):
    """The response is malformed.

    Args:
        message: What is wrong with it, fit for callers.
    """


class ResponseReader(Protocol):
    """Reads one response. After it has yielded a `Result`, it must not be used."""

    def feed(self, data: bytes) -> Iterator[Part]:
        """Yield the events, or the outcome, that these bytes complete.

        Raises:
            ProtocolError: They are malformed.
        """

    def end(self) -> Iterator[Part]:
        """Yield what is left at the end of the response; an outcome comes last.

        Raises:
            ProtocolError: It is malformed.
        """


class WholeReader:
    """Collects a response that can be read only as a whole.

    Args:
        read: Yields the events and the outcome of the whole response.
    """

    def __init__(self, read: Callable[[bytearray], Iterator[Part]]) -> None:
        self._read = read
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Part]:
        self._data += data
        check_size(len(self._data))
        return iter(())

    def end(self) -> Iterator[Part]:
        return self._read(self._data)


def check_size(size: int) -> None:
    """Limit what a reader keeps until more arrives.

    Raises:
        ProtocolError: It is too much.
    """
    if size > MAX_PART_BYTES:
        raise ProtocolError(f"the agent process sent more than {MAX_PART_BYTES // 1024**2} MiB at once")
