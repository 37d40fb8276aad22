"""Messages to the replica that owns a run: cancel it, take something for it, or stop, since it is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

from dockrion.errors import ServiceUnavailable

_REPLY_SECONDS = 10.0


class OwnerRequest(msgspec.Struct, frozen=True):
    """A request from another replica to the one that owns a run.

    Attributes:
        run_id: The run.
        body: The request, opaque to backends.
        reply: Sends the reply; raises `ServiceUnavailable` when it cannot be sent.
    """

    run_id: str
    body: bytes
    reply: Callable[[bytes], Awaitable[None]]


async def wait_for_reply(reply: asyncio.Future[bytes]) -> bytes:
    """Return the reply to a request, within the time that replies have.

    Raises:
        ServiceUnavailable: There is no reply in time.
    """
    try:
        async with asyncio.timeout(_REPLY_SECONDS):
            return await reply
    except TimeoutError:
        raise ServiceUnavailable("whoever runs this run does not answer; try again later") from None


class OwnerMessages(Protocol):
    """Reaches the owner of a run from any replica."""

    async def request_cancel(self, run_id: str, reason: str | None) -> None:
        """Ask the replica that owns a run to cancel it.

        Raises:
            RunNotFound: No such run.
        """

    def cancel_requests(self) -> AsyncIterator[tuple[str, str | None]]:
        """Yield (run id, reason) for each request about a run created here, without end."""

    async def request_owner(self, run_id: str, body: bytes) -> bytes:
        """Send a request to the replica that owns a run, and return its reply.

        Raises:
            RunNotFound: No such run.
            ServiceUnavailable: There is no reply; the request may have been handled all the same.
        """

    def owner_requests(self) -> AsyncIterator[OwnerRequest]:
        """Yield each request about a run created here, without end."""

    def lost_runs(self) -> AsyncIterator[str]:
        """Yield the id of each run created here that another replica has taken over, without end."""
