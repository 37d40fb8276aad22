"""What a connection says of itself, beside the events it carries. No cursor moves by it."""

import msgspec


class Control(msgspec.Struct, frozen=True):
    """Something said of a connection. As JSON it has a `type` and no `sequence`, unlike an event."""

    @property
    def type(self) -> str:
        """What it is called on the wire."""
        return str(self.__struct_config__.tag)


class Gap(Control, frozen=True, tag="gap"):
    """The events from `requested` to just before `first_available` are gone."""

    requested: int
    first_available: int


class Timeout(Control, frozen=True, tag="timeout"):
    """The connection's time is over, though the run goes on."""

    message: str


class AuthExpired(Control, frozen=True, tag="auth_expired"):
    """The reader's credential has expired, though the run goes on."""

    message: str = "what opened this stream has expired; connect again with a new key or token to go on"


class Gone(Control, frozen=True, tag="gone"):
    """The run's events are lost, so that nothing can follow."""

    message: str = "the run's events are no longer stored; nothing can follow"


class Draining(Control, frozen=True, tag="draining"):
    """The service is about to end."""

    message: str = "the server is going away, connect again"
