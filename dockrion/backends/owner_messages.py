"""Messages to a run's owner, the replica that executes it: cancel, a request, or that it lost the run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

from dockrion.errors import ServiceUnavailable

_REPLY_SECONDS = 10.0


class OwnerRequest(msgspec.Struct, frozen=True):
    """A request from any replica to the owner of a run.

    Attributes:
        run_id: The run.
        body: The request; backends do not interpret it.
        reply: Sends the reply. Raises `ServiceUnavailable` if it cannot be sent.
    """

    run_id: str
    body: bytes
    reply: Callable[[bytes], Awaitable[None]]


class OwnerMessages(Protocol):
    """Reaches the owner of a run from any replica.

    The owner is the replica that called `create`. Each iterator has at most one consumer, yields
    in the order of arrival, and never ends.
    """

    async def request_cancel(self, run_id: str, reason: str | None) -> None:
        """Ask the owner to cancel a run. Returns when the request is stored, not when it is handled.

        Raises:
            RunNotFound: No such run.
        """

    def cancel_requests(self) -> AsyncIterator[tuple[str, str | None]]:
        """Yield (run id, reason) for each request to cancel a run that this replica owns."""

    async def request_owner(self, run_id: str, body: bytes) -> bytes:
        """Send a request to the owner of a run and return its reply.

        Raises:
            RunNotFound: No such run.
            ServiceUnavailable: No reply arrived; the owner may have handled the request all the same.
        """

    def owner_requests(self) -> AsyncIterator[OwnerRequest]:
        """Yield each request about a run that this replica owns."""

    def lost_runs(self) -> AsyncIterator[str]:
        """Yield the id of each run that another replica has taken over from this one."""


async def wait_for_reply(reply: asyncio.Future[bytes]) -> bytes:
    """Return a reply.

    Raises:
        ServiceUnavailable: It did not arrive in time.
    """
    try:
        async with asyncio.timeout(_REPLY_SECONDS):
            return await reply
    except TimeoutError:
        raise ServiceUnavailable("the run's owner does not respond; try again later") from None
