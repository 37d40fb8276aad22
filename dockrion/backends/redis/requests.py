"""Requests to the replica that owns a run, and their replies: a remote call over two inboxes.

The body of a request is stored under a key with a short time to live, and only its number is sent to
the owner's inbox: bodies may be large, and inboxes are trimmed. The reply, which is small, is part
of its message. Nothing is retried; without a reply in time the caller gets `ServiceUnavailable`.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

from dockrion.backends.owner_messages import OwnerRequest, RunRef, wait_for_reply
from dockrion.backends.redis.client import LARGE_BYTES, transfer_seconds
from dockrion.backends.redis.health import unavailable
from dockrion.backends.redis.keys import QUEUE
from dockrion.backends.redis.store import Store
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import CorruptLog, RunNotFound, ServiceUnavailable

_MAX_QUEUED = 10_000
_BODY_TTL = 60


class _Arrived(NamedTuple):
    """A request whose body is yet to be fetched."""

    run: RunRef
    number: str
    sender: str
    size: int


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
        self._received: asyncio.Queue[_Arrived | OwnerRequest] = asyncio.Queue(_MAX_QUEUED)
        self._fetching = BackgroundTasks()  # large bodies

    async def request(self, run_id: str, body: bytes, incarnation: str | None) -> bytes:
        """Return the reply of a run's owner; see `OwnerMessages.request_owner`.

        Raises:
            RunNotFound: No such run.
            ServiceUnavailable: There is no reply in time.
        """
        number = secrets.token_hex(8)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send(run_id, number, body, incarnation)
            return await wait_for_reply(reply, transfer_seconds(len(body)))
        finally:
            del self._replies[number]

    def on_request(self, run: RunRef, number: str, sender: str, size: int) -> None:
        """Queue a request that has arrived, with the size of its body."""
        self._queue(_Arrived(run, number, sender, size))

    def on_reply(self, number: str, body: bytes) -> None:
        """Pass on a reply, if its request still waits for it."""
        reply = self._replies.get(number)
        if reply is not None and not reply.done():
            reply.set_result(body)

    async def received(self) -> AsyncIterator[OwnerRequest]:
        """Yield the requests about this replica's runs, without end."""
        while True:
            received = await self._received.get()
            if isinstance(received, OwnerRequest):
                yield received
            elif received.size > LARGE_BYTES:  # it may take long, and must not delay the others
                self._fetching.start(self._fetch_large(received))
            elif (request := await self._fetch(received)) is not None:
                yield request

    async def aclose(self) -> None:
        """Fetch no more bodies."""
        await self._fetching.cancel_until_done()

    async def _send(self, run_id: str, number: str, body: bytes, incarnation: str | None) -> None:
        """Store the body of a request, and send its number to the run's owner.

        Raises:
            RunNotFound: No such run.
            ServiceUnavailable: It waits for a slot.
        """
        store, size = self._store, len(body)
        owner, current = await store.owner(run_id)
        if incarnation not in (None, current):
            raise RunNotFound(run_id)
        if owner == QUEUE:
            raise ServiceUnavailable("the run waits for a slot; try again later")
        request = "question", number, "from", self._replica, "size", str(size)
        await store.send_sized(
            size,
            ("SET", store.keys.request(run_id, number), body, "EX", _BODY_TTL),
            *store.messages([owner], "run", run_id, "incarnation", current, *request),
        )

    async def _pop_body(self, run_id: str, number: str, size: int) -> bytes:
        """Return a request's body, which has about that size, and delete it.

        Raises:
            RunNotFound: It is not there.
        """
        key = self._store.keys.request(run_id, number)
        return bytes(await self._store.query(run_id, ("GETDEL", key), size=size))

    def _queue(self, received: _Arrived | OwnerRequest) -> None:
        with suppress(asyncio.QueueFull):  # its sender gets a timeout
            self._received.put_nowait(received)

    async def _fetch_large(self, arrived: _Arrived) -> None:
        if (request := await self._fetch(arrived)) is not None:
            self._queue(request)

    async def _fetch(self, arrived: _Arrived) -> OwnerRequest | None:
        """Return a request with its body, None if that is lost: its sender gets a timeout."""
        run, number, sender, size = arrived
        try:
            body = await self._pop_body(run.run_id, number, size)
        except (ServiceUnavailable, CorruptLog, RunNotFound):
            return None

        store = self._store

        async def reply(body: bytes) -> None:
            try:
                await store.client.send(*store.messages([sender], "answer", number, "text", body))
            except CorruptLog as error:
                raise unavailable() from error

        return OwnerRequest(run.run_id, run.incarnation, body, reply)
