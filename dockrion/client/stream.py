"""Following one run, over as many connections as that takes."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import msgspec
from aiohttp import hdrs

from dockrion.client import events
from dockrion.client.errors import ClientError, ConnectionLost, EventsGone, ProtocolError, ResponseError
from dockrion.client.events import Gap
from dockrion.client.transport import MOST_BYTES, STREAM, Request, Service, release
from dockrion.events import TERMINAL, Event
from dockrion.ids import RUN_ID_PATTERN
from dockrion.wire.sse import Decoder, Message

_SEQUENCE = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_PLANNED = ("timeout", "auth_expired")  # ends of a connection that say: connect again
_LEFT = "the caller left"
_AWAY = (429, 502, 503, 504)
T = TypeVar("T")


class Stream:
    """The events of a run, in order, each once. To be read once, with `async for`.

    A connection that is lost is made again, and goes on behind the last event that was read. Leaving
    the loop closes the connection.

    Attributes:
        run_id: The run; empty until the service has said it.
        after: The last sequence that was read.

    Args:
        service: The service that runs the agent.
        run_id: The run, empty for one that is to be begun.
        after: The last sequence that is not wanted.
        begin: The request that begins it.
        resume: Whether to go on when the connection is lost.

    Raises:
        ResponseError: The service answered with an error.
        ConnectionLost: It cannot be reached; or the connection broke and does not come back.
        ProtocolError: What it sends is not what Dockrion promises.
        EventsGone: The run is no longer stored, though it was not over.
    """

    def __init__(
        self,
        service: Service,
        *,
        run_id: str = "",
        after: int = 0,
        begin: Request | None = None,
        resume: bool = True,
    ) -> None:
        self.run_id = run_id
        self.after = after
        self._service = service
        self._begin = begin
        self._resume = resume
        self._patience = service.patience()
        self._answer: aiohttp.ClientResponse | None = None
        self._decoder = Decoder()
        self._opened_at = 0.0
        self._used = False
        self._established = False
        self._planned = False  # this connection ends though nothing is wrong
        self._over = False

    def __aiter__(self) -> AsyncGenerator[Event | Gap]:
        return self._read(_struct)

    def lines(self) -> AsyncGenerator[str]:
        """Yield the events as the service wrote them, one line of JSON each, instead of structs."""
        return self._read(_line)

    def leave(self) -> None:
        """Close the connection, and let a run that nobody else knows of be cancelled; again does nothing."""
        if self not in self._service.streams:
            return
        self._service.streams.discard(self)
        self._disconnect()
        if self._begin is not None and self._resume and self.run_id and not self._over:
            self._service.at_last(self._service.cancel(self.run_id, _LEFT))

    async def _read(self, shape: Callable[[Message], T]) -> AsyncGenerator[T]:
        if self._used:
            raise RuntimeError("a stream is read once; Client.events(run_id, after) reads on")
        self._used = True
        self._service.streams.add(self)
        try:
            while not self._over:
                for message in await self._next():
                    if self._take(message):
                        yield shape(message)
        except ClientError as error:
            self._service.streams.discard(self)  # the run is left as it is: who asked may go on with it
            if isinstance(error, ConnectionLost):
                error.run_id, error.after = self.run_id, self.after
            raise
        finally:
            self.leave()
            self._disconnect()

    async def _next(self) -> list[Message]:
        """Return the next frames; none where the connection is over, and may be made again."""
        try:
            answer = self._answer or await self._connect()
            if answer is None:
                return []
            if data := await self._service.read(answer):
                return self._decoded(data)
            lost: ClientError = ConnectionLost("the stream ended before the run did")
        except ConnectionLost as error:
            lost = error
        except ResponseError as error:
            if error.status not in _AWAY:
                raise
            lost = error
        self._disconnect()
        await self._wait(lost)
        return []

    async def _connect(self) -> aiohttp.ClientResponse | None:
        """Open a connection, None where there is nothing left to read."""
        if self._established:
            answer = await self._service.once(self._ask())
        elif self._begin is not None:
            answer = await self._service.patiently(self._begin, self._begin_once)
        else:
            answer = await self._service.patiently(self._ask())
        self._answer = answer
        if answer.status == HTTPStatus.NO_CONTENT and not self._established:
            self._over = True  # the reader had all there will ever be
            self._disconnect()
            return None
        if answer.content_type != "text/event-stream":
            raise ProtocolError("the answer is no stream of events")
        self.run_id = self.run_id or _run_id(answer)
        self._established = True
        self._planned = False
        self._opened_at = time.monotonic()
        self._decoder = Decoder()
        return answer

    async def _begin_once(self, request: Request) -> aiohttp.ClientResponse:
        """Begin the run. Whoever is cancelled before its name is known does not leave it behind."""
        sent = asyncio.create_task(self._service.once(request))
        try:
            return await asyncio.shield(sent)
        except asyncio.CancelledError:
            self._service.at_last(self._take_back(sent))
            raise

    async def _take_back(self, sent: asyncio.Task[aiohttp.ClientResponse]) -> None:
        answer = await sent
        answer.close()
        if self._resume and (run_id := _run_id(answer)):
            await self._service.cancel(run_id, _LEFT)

    def _ask(self) -> Request:
        headers: dict[str, str] = {hdrs.ACCEPT: "text/event-stream"}
        if self.after:
            headers["Last-Event-ID"] = str(self.after)
        path = ("runs", self.run_id, "events")
        return Request(method=hdrs.METH_GET, path=path, headers=headers, timeout=STREAM)

    def _decoded(self, data: bytes) -> list[Message]:
        decoder = self._decoder
        comments = decoder.comments
        messages = decoder.feed(data)
        if decoder.pending > MOST_BYTES:
            raise ProtocolError("an event does not end")
        if decoder.retry is not None:
            self._patience.wants(decoder.retry / 1000)
        if messages or decoder.comments > comments:
            self._patience.renew()
        return messages

    def _take(self, message: Message) -> bool:
        """Note what a frame says, and return whether the reader gets it."""
        if self._over:
            return False
        if message.id is not None:
            self._advance(message)
            return True
        if message.event == "gap":
            self._skip(events.gap(message))
            return True
        if message.event in _PLANNED:
            self._planned = True
        if message.event == "gone":
            raise EventsGone(f"the events of run {self.run_id} are no longer stored")
        return False

    def _advance(self, message: Message) -> None:
        sequence = message.id or ""
        if not _SEQUENCE.fullmatch(sequence) or int(sequence) != self.after + 1:
            raise ProtocolError(f"event {sequence:.20} came where {self.after + 1} had to")
        self.after += 1
        self._over = message.event in TERMINAL

    def _skip(self, gap: Gap) -> None:
        if gap.requested != self.after + 1 or gap.first_available <= gap.requested:
            raise ProtocolError(
                f"a gap from {gap.requested} to {gap.first_available} came behind {self.after}"
            )
        self.after = gap.first_available - 1

    async def _wait(self, lost: ClientError) -> None:
        """Wait until it is time to connect again.

        Raises:
            ClientError: What was lost, where there is no coming back.
        """
        left = self not in self._service.streams
        if left or not (self._established and self._resume and self.run_id):
            raise lost
        if self._planned:
            self._planned = False
            pause: float | None = self._patience.rest(time.monotonic() - self._opened_at)
        else:
            at_least = lost.retry_after if isinstance(lost, ResponseError) else None
            pause = self._patience.pause(at_least or 0.0)
        if pause is None:
            raise lost
        await asyncio.sleep(pause)

    def _disconnect(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            release(answer)


def _run_id(answer: aiohttp.ClientResponse) -> str:
    run_id = answer.headers.get("X-Run-Id", "")
    if run_id and not RUN_ID_PATTERN.fullmatch(run_id):
        raise ProtocolError("the service names a run as no run can be named")
    return run_id


def _struct(message: Message) -> Event | Gap:
    return events.gap(message) if message.id is None else events.event(message)


def _line(message: Message) -> str:
    return msgspec.json.encode(events.gap(message)).decode() if message.id is None else message.data
