"""What the service knows of an agent."""

from typing import Any, Protocol

import msgspec

from dockrion.caller import Caller
from dockrion.runs.context import RunSession


class Call(msgspec.Struct, frozen=True):
    """What a caller wants of an agent.

    Attributes:
        payload: The request's body.
        config: What the caller sets for this run alone, checked: `_config` of the body.
        resume: What the caller says to an interrupted agent, instead of a payload.
        traceparent: The caller's position in a trace (W3C Trace Context), or None.
        events_url: Where the run's events are read and may be posted, None where none are kept.
        caller: Who wants it, None where callers do not say who they are.
    """

    payload: Any
    config: dict[str, Any] | None = None
    resume: Any = msgspec.UNSET
    traceparent: str | None = None
    events_url: str | None = None
    caller: Caller | None = None


class Agent(Protocol):
    """Does the work of runs."""

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        """Work on a call until there is an output.

        When the task that awaits this is cancelled, the work is to stop, and this returns
        or raises only when it did.

        Args:
            call: What is wanted.
            session: The run: where events go.
            streaming: Whether anybody can see events.

        Returns:
            The output, any value; or an `Outcome`, where the agent knows more of its end.

        Raises:
            BaseException: Whatever the agent raises.
        """

    async def check(self) -> None:
        """Return if the agent can take work.

        Raises:
            ServiceUnavailable: It cannot; the message says why.
        """

    async def aclose(self) -> None:
        """Release everything."""


class InProcess:
    """What holds for every agent whose code runs in this process."""

    async def check(self) -> None:
        """Return: once it is loaded, it can take work."""

    async def aclose(self) -> None:
        """Return: it ends with the process."""
