"""Messages to a run's owner, the replica that executes it: cancel, a request, or that it lost the run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

from dockrion.errors import ServiceUnavailable

_REPLY_SECONDS = 10.0


class RunRef(msgspec.Struct, frozen=True):
    """Which run it is: what tells it from all other runs, also from earlier ones with its id.

    Attributes:
        run_id: Its id.
        incarnation: Its incarnation; None for the run that has the id at the moment, as earlier versions of
            this service mean it.
    """

    run_id: str
    incarnation: str | None


class CancelRequest(RunRef, frozen=True):
    """A request to cancel a run.

    Attributes:
        reason: Why, for the run's readers.
    """

    reason: str | None


class OwnerRequest(RunRef, frozen=True):
    """A request from any replica to the owner of a run.

    Attributes:
        body: The request; backends do not interpret it.
        reply: Sends the reply. Raises `ServiceUnavailable` if it cannot be sent.
    """

    body: bytes
    reply: Callable[[bytes], Awaitable[None]]


class OwnerMessages(Protocol):
    """Reaches the owner of a run from any replica.

    The owner is the replica that called `create`. Each iterator has at most one consumer, yields
    in the order of arrival, and never ends.
    """

    async def request_cancel(self, run_id: str, reason: str | None, incarnation: str | None = None) -> None:
        """Ask the owner to cancel a run. Returns when the request is stored, not when it is handled.

        Args:
            run_id: The run.
            reason: Why, for the run's readers.
            incarnation: The run's incarnation, None for the run that has the id at the moment.

        Raises:
            RunNotFound: No such run.
        """

    def cancel_requests(self) -> AsyncIterator[CancelRequest]:
        """Yield each request to cancel a run that this replica owns."""

    async def request_owner(self, run_id: str, body: bytes, incarnation: str | None = None) -> bytes:
        """Send a request to the owner of a run and return its reply.

        Args:
            run_id: The run.
            body: The request.
            incarnation: As for `request_cancel`.

        Raises:
            RunNotFound: No such run.
            ServiceUnavailable: No reply arrived; the owner may have handled the request all the same.
        """

    def owner_requests(self) -> AsyncIterator[OwnerRequest]:
        """Yield each request about a run that this replica owns."""

    def lost_runs(self) -> AsyncIterator[RunRef]:
        """Yield each run that another replica has taken over from this one."""


async def wait_for_reply(reply: asyncio.Future[bytes], transfer_seconds: float = 0) -> bytes:
    """Return a reply.

    Args:
        reply: Done when it has arrived.
        transfer_seconds: How much longer than usual the request may take to arrive.

    Raises:
        ServiceUnavailable: It did not arrive in time.
    """
    try:
        async with asyncio.timeout(_REPLY_SECONDS + transfer_seconds):
            return await reply
    except TimeoutError:
        raise ServiceUnavailable("the run's owner does not respond; try again later") from None
