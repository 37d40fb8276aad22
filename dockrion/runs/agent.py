"""The interface between the engine and agents."""

from typing import Any, Protocol

import msgspec

from dockrion.caller import NO_REQUEST, Caller, CallerRequest
from dockrion.events import PreviousEnd
from dockrion.runs.session import RunSession
from dockrion.runs.stored_input import StoredInput


class Invocation(msgspec.Struct, frozen=True):
    """What makes a run the invocation of a caller, who waits for its outcome and alone gets it.

    Attributes:
        limit: Seconds until it is over, the wait for a slot included; None for no limit.
        kept_seconds: How long its outcome is kept.
    """

    limit: float | None
    kept_seconds: int


class Call(msgspec.Struct, frozen=True):
    """The input of one run or invocation.

    Attributes:
        payload: The request's body.
        config: The caller's configuration for this run, validated: `_config` of the body.
        resume: The caller's reply to an interrupted agent, in place of a payload.
        request: What the agent may know of the request.
        events_url: Where the run's events are read and pushed, None if they are not stored.
        caller: The authenticated caller, None without authentication.
        stored_input: What the run's record keeps of the input, None for nothing.
        body: The request's body as it was received; None where no other replica can work on the run.
        attempt: How often the agent was started for this run, this start included.
        previous: Why the attempt before ended, None for the first.
        request_digest: Identifies the request of a caller who chose the run's id.
        invocation: Set if the run is the invocation of a caller, and therefore unlisted.
        webhook_url: Where the caller wants to be told how the run ends, None for nowhere.
        protocol: As in `Run`.
    """

    payload: Any
    config: dict[str, Any] | None = None
    resume: Any = msgspec.UNSET
    request: CallerRequest = NO_REQUEST
    events_url: str | None = None
    caller: Caller | None = None
    stored_input: StoredInput | None = None
    body: bytes | None = None
    attempt: int = 1
    previous: PreviousEnd | None = None
    request_digest: str | None = None
    invocation: Invocation | None = None
    webhook_url: str | None = None
    protocol: dict[str, Any] | None = None


class Agent(Protocol):
    """Works on calls.

    Attributes:
        input_schema: The JSON Schema of its payloads, None if it does not know it.
        keeps_threads: Whether a run continues the conversation of the thread that its config names.
        threads_in_memory: Whether only this process has those threads.
    """

    input_schema: dict[str, Any] | None
    keeps_threads: bool
    threads_in_memory: bool

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:
        """Work on a call until there is an output.

        When the task that awaits this is cancelled, stop the work, and return or raise only
        when it has stopped.

        Args:
            call: The input.
            session: The run, which is also the current one. Emits its events.
            streaming: Whether anyone can read events.

        Returns:
            The output, any value; or an `Outcome`, if the agent determines more than its output.

        Raises:
            BaseException: Whatever the agent raises.
        """

    async def check(self) -> None:
        """Return if the agent can accept work.

        Raises:
            ServiceUnavailable: It cannot; the message says why.
        """

    async def aclose(self) -> None:
        """Release all resources."""


class InProcess:
    """What agents whose code runs in this process share."""

    input_schema: dict[str, Any] | None = None
    keeps_threads = False
    threads_in_memory = False

    async def check(self) -> None:
        """Return: an agent that is loaded can accept work."""

    async def aclose(self) -> None:
        """Return: the agent ends with the process."""
