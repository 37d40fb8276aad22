"""Control frames: what a connection sends besides events. They never move a reader's cursor."""

import msgspec


class Control(msgspec.Struct, frozen=True):
    """A control frame. Its JSON has a `type` but, unlike an event's, no `sequence`."""

    @property
    def type(self) -> str:
        """Its name on the wire."""
        return str(self.__struct_config__.tag)


class Gap(Control, frozen=True, tag="gap"):
    """The log does not hold the event `requested`; the next event is `first_available`.

    The events between are no longer stored. If `first_available` is the lower, the log has never been that
    long: the reader's position is that of another run with the id, and the stream starts over.
    """

    requested: int
    first_available: int

    @property
    def is_of_another_run(self) -> bool:
        """Whether the reader's position is that of another run with the id."""
        return self.first_available <= self.requested


class Notice(Control, frozen=True):
    """A control frame with which a connection ends before its run does.

    Attributes:
        message: What has happened, and how to go on.
    """

    message: str


class Timeout(Notice, frozen=True, tag="timeout"):
    """The connection's timeout is over; the run continues."""


class AuthExpired(Notice, frozen=True, tag="auth_expired"):
    """The reader's credential has expired; the run continues."""

    message: str = "what opened this stream has expired; connect again with a new key or token to go on"


class Gone(Notice, frozen=True, tag="gone"):
    """The storage has lost the run, so no event can follow."""

    message: str = "the run's events are no longer stored; nothing can follow"


class Draining(Notice, frozen=True, tag="draining"):
    """The service is shutting down."""

    message: str = "the server is going away, connect again"
