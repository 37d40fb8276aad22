"""Requests to the replica that owns a run, and their replies: a remote call over two inboxes.

The body of a request is stored under a key with a short time to live, and only its number is sent to
the owner's inbox: bodies may be large, and inboxes are trimmed. The reply, which is small, is part
of its message. Nothing is retried; without a reply in time the caller gets `ServiceUnavailable`.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress

from dockrion.backends.owner_messages import OwnerRequest, RunRef, wait_for_reply
from dockrion.backends.redis.client import transfer_seconds
from dockrion.backends.redis.health import unavailable
from dockrion.backends.redis.store import Store
from dockrion.errors import CorruptLog, RunNotFound, ServiceUnavailable

_MAX_QUEUED = 10_000


class OwnerRequests:
    """Sends requests to the owners of runs, and receives those about runs of this replica.

    Args:
        store: What Redis holds.
        replica: This replica.
    """

    def __init__(self, store: Store, replica: str) -> None:
        self._store = store
        self._replica = replica
        self._replies: dict[str, asyncio.Future[bytes]] = {}
        self._received: asyncio.Queue[tuple[RunRef, str, str, int]] = asyncio.Queue(_MAX_QUEUED)

    async def request(self, run_id: str, body: bytes, incarnation: str | None) -> bytes:
        """Return the reply of a run's owner; see `OwnerMessages.request_owner`.

        Raises:
            RunNotFound: No such run.
            ServiceUnavailable: There is no reply in time.
        """
        number = secrets.token_hex(8)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            await self._store.send_request(run_id, number, body, self._replica, incarnation)
            return await wait_for_reply(reply, transfer_seconds(len(body)))
        finally:
            del self._replies[number]

    def on_request(self, run: RunRef, number: str, sender: str, size: int) -> None:
        """Queue a request that has arrived, with the size of its body."""
        with suppress(asyncio.QueueFull):  # its sender gets a timeout
            self._received.put_nowait((run, number, sender, size))

    def on_reply(self, number: str, body: bytes) -> None:
        """Pass on a reply, if its request still waits for it."""
        reply = self._replies.get(number)
        if reply is not None and not reply.done():
            reply.set_result(body)

    async def received(self) -> AsyncIterator[OwnerRequest]:
        """Yield the requests about this replica's runs, without end."""
        while True:
            run, number, sender, size = await self._received.get()
            try:
                body = await self._store.pop_request(run.run_id, number, size)
            except (ServiceUnavailable, CorruptLog, RunNotFound):
                continue  # its sender gets a timeout

            async def reply(body: bytes, number: str = number, sender: str = sender) -> None:
                try:
                    await self._store.send_reply(sender, number, body)
                except CorruptLog as error:
                    raise unavailable() from error

            yield OwnerRequest(run.run_id, run.incarnation, body, reply)
