"""The events of one run, over as many connections as it takes.

A stream is a state machine: `_State`, what can happen to it (`_Input`), and `_TRANSITIONS`. Whether it
reconnects, with which request, and whether leaving it cancels the run follows from the state alone.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from enum import Enum, auto
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import msgspec
from aiohttp import hdrs

from dockrion.client import events
from dockrion.client.errors import ClientError, ConnectionLost, EventsGone, ProtocolError, ResponseError
from dockrion.client.event_response import EventResponse
from dockrion.client.events import Gap
from dockrion.client.transport import STREAM, Request, Transport, release
from dockrion.events import TERMINAL, Event
from dockrion.ids import INCARNATION_HEADER, RUN_ID_HEADER, RUN_ID_PATTERN
from dockrion.wire import sse

_CANCEL_REASON = "the caller left"
_TEMPORARY = (429, 502, 503, 504)  # statuses of a service that is busy or restarting
T = TypeVar("T")


class _State(Enum):
    NEW = auto()  # not read yet
    OPENING = auto()  # the first request is under way
    OPEN = auto()  # connected
    EXPIRING = auto()  # connected; the service has announced that it will end this connection, not the run
    RECONNECTING = auto()  # the connection is lost
    COMPLETE = auto()  # there are no more events
    CLOSED = auto()  # the reader has left, or the stream has failed


class _Input(Enum):
    READ = auto()
    CONNECTED = auto()
    NO_EVENTS = auto()  # 204: the run is over, and `after` is its end
    EXPIRY_ANNOUNCED = auto()
    TERMINAL_EVENT = auto()
    CONNECTION_LOST = auto()
    CLOSE = auto()


_CONNECTED = {
    _Input.EXPIRY_ANNOUNCED: _State.EXPIRING,
    _Input.TERMINAL_EVENT: _State.COMPLETE,
    _Input.CONNECTION_LOST: _State.RECONNECTING,
    _Input.CLOSE: _State.CLOSED,
}
_TRANSITIONS: dict[_State, dict[_Input, _State]] = {
    _State.NEW: {_Input.READ: _State.OPENING, _Input.CLOSE: _State.CLOSED},
    _State.OPENING: {
        _Input.CONNECTED: _State.OPEN,
        _Input.NO_EVENTS: _State.COMPLETE,
        _Input.CLOSE: _State.CLOSED,
    },
    _State.OPEN: _CONNECTED,
    _State.EXPIRING: _CONNECTED,
    _State.RECONNECTING: {
        _Input.CONNECTED: _State.OPEN,
        _Input.CONNECTION_LOST: _State.RECONNECTING,
        _Input.CLOSE: _State.CLOSED,
    },
    _State.COMPLETE: {_Input.CLOSE: _State.COMPLETE},
    # The response to a request under way may still arrive.
    _State.CLOSED: {
        _Input.CONNECTED: _State.CLOSED,
        _Input.NO_EVENTS: _State.COMPLETE,
        _Input.CLOSE: _State.CLOSED,
    },
}


class Stream:
    """The events of a run, in order, each once. Read it once, with `async for`.

    After a lost connection it reconnects and continues after the last event. Leaving the loop closes the
    connection.

    Attributes:
        run_id: The run; empty until the service has sent its id.
        after: The sequence of the last event that was read.

    Args:
        transport: Sends its requests.
        run_id: The run, empty if it is yet to be started.
        after: Skip the events up to this sequence.
        start: The request that starts the run, None for a run that exists.
        resume: Whether to reconnect after a lost connection.

    Raises:
        ResponseError: The service responded with an error.
        ConnectionLost: It cannot be reached, or the connection broke and could not be made again.
        ProtocolError: The service sent what it should not.
        EventsGone: The run's events are no longer stored, though it was not over.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        run_id: str = "",
        after: int = 0,
        start: Request | None = None,
        resume: bool = True,
    ) -> None:
        self.run_id = run_id
        self.after = after
        self._transport = transport
        self._start = start
        self._resume = resume
        self._incarnation: str | None = None
        self._schedule = transport.retry_schedule()
        self._response: EventResponse | None = None
        self._connected_at = 0.0
        self._state = _State.NEW

    def __aiter__(self) -> AsyncGenerator[Event | Gap]:
        return self._read(events.decode)

    def lines(self) -> AsyncGenerator[str]:
        """Yield the events as the service wrote them, one line of JSON each, instead of structs."""
        return self._read(_line)

    def close(self) -> None:
        """Close the connection, and cancel a run that this stream has started; idempotent."""
        unfinished = self._state not in (_State.COMPLETE, _State.CLOSED)
        self._advance(_Input.CLOSE)
        self._transport.streams.discard(self)
        self._disconnect()
        if unfinished and self._start is not None and self._resume and self.run_id:
            cancel = self._transport.cancel_run(self.run_id, _CANCEL_REASON, self._incarnation)
            self._transport.run_in_background(cancel)

    def _advance(self, input_: _Input) -> None:
        self._state = _TRANSITIONS[self._state][input_]

    async def _read(self, convert: Callable[[sse.Message], T]) -> AsyncGenerator[T]:
        if _Input.READ not in _TRANSITIONS[self._state]:
            raise RuntimeError("a stream is read once; Client.events(run_id, after) continues it")
        self._advance(_Input.READ)
        self._transport.streams.add(self)
        try:
            while self._state is not _State.COMPLETE:
                for message in await self._next_messages():
                    if self._accept(message):
                        yield convert(message)
        except ClientError as error:
            self._advance(_Input.CLOSE)  # without a cancel: the caller may continue with the run
            if isinstance(error, ConnectionLost):
                error.run_id, error.after = self.run_id, self.after
            raise
        finally:
            self.close()

    async def _next_messages(self) -> list[sse.Message]:
        """Return the next messages; none if the connection was lost, and may be made again."""
        if self._state is _State.CLOSED:
            raise ConnectionLost("the client was closed before the run was over")
        try:
            if self._response is None:
                await self._connect()
            if self._response is None:  # there are no events
                return []
            messages = await self._response.read()
            if messages is not None:
                self._adjust_schedule(self._response)
                return messages
            lost: ClientError = ConnectionLost("the stream ended before the run did")
        except ConnectionLost as error:
            lost = error
        except ResponseError as error:
            if error.status not in _TEMPORARY:
                raise
            lost = error
        self._disconnect()
        await self._wait_to_reconnect(lost)
        return []

    async def _connect(self) -> None:
        first = self._state is _State.OPENING
        if not first:
            response = await self._transport.send(self._events_request())
        elif self._start is not None:
            response = await self._transport.with_retry(self._start, self._send_start)
        else:
            response = await self._transport.with_retry(self._events_request(), self._transport.send)
        if first and response.status == HTTPStatus.NO_CONTENT:
            release(response)
            self._advance(_Input.NO_EVENTS)
            return
        self._response = EventResponse(self._transport, response)
        self.run_id = self.run_id or _run_id(response)
        self._incarnation = self._incarnation or response.headers.get(INCARNATION_HEADER) or None
        self._connected_at = time.monotonic()
        self._advance(_Input.CONNECTED)

    async def _send_start(self, request: Request) -> aiohttp.ClientResponse:
        """Start the run. If the caller is cancelled before its id is known, cancel it when it is."""
        sending = asyncio.create_task(self._transport.send(request))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            self._transport.run_in_background(self._cancel_started(sending))
            raise

    async def _cancel_started(self, sending: asyncio.Task[aiohttp.ClientResponse]) -> None:
        response = await sending
        response.close()
        if self._resume and (run_id := _run_id(response)):
            incarnation = response.headers.get(INCARNATION_HEADER) or None
            await self._transport.cancel_run(run_id, _CANCEL_REASON, incarnation)

    def _events_request(self) -> Request:
        headers: dict[str, str] = {hdrs.ACCEPT: sse.MEDIA_TYPE}
        if self.after:
            headers["Last-Event-ID"] = str(self.after)
        path = ("runs", self.run_id, "events")
        query = {"incarnation": self._incarnation}
        return Request("GET", path, query=query, headers=headers, timeout=STREAM)

    def _adjust_schedule(self, response: EventResponse) -> None:
        if response.reconnect_delay is not None:
            self._schedule.set_first_delay(response.reconnect_delay)
        if response.active:
            self._schedule.reset()

    def _accept(self, message: sse.Message) -> bool:
        """Process a message, and return whether the reader gets it."""
        if self._state not in (_State.OPEN, _State.EXPIRING):
            return False
        if message.id is not None:
            self._accept_event(message)
            return True
        match message.event:
            case "gap":
                self._accept_gap(events.decode_gap(message))
                return True
            case "timeout" | "auth_expired":
                self._advance(_Input.EXPIRY_ANNOUNCED)
            case "gone":
                raise EventsGone(f"the events of run {self.run_id} are no longer stored")
        return False

    def _accept_event(self, message: sse.Message) -> None:
        if message.id != str(self.after + 1):
            raise ProtocolError(f"got event {message.id:.20} instead of {self.after + 1}")
        self.after += 1
        if message.event in TERMINAL:
            self._advance(_Input.TERMINAL_EVENT)

    def _accept_gap(self, gap: Gap) -> None:
        if gap.requested != self.after + 1 or gap.first_available == gap.requested:
            raise ProtocolError(f"got a gap from {gap.requested} to {gap.first_available} after {self.after}")
        self.after = gap.first_available - 1

    async def _wait_to_reconnect(self, lost: ClientError) -> None:
        """Wait until it is time to reconnect.

        Raises:
            ClientError: `lost`, if there is no reconnecting.
        """
        first_or_closed = self._state in (_State.OPENING, _State.CLOSED)
        if first_or_closed or not (self._resume and self.run_id):
            raise lost
        if self._state is _State.EXPIRING:
            delay: float | None = self._schedule.delay_after(time.monotonic() - self._connected_at)
        else:
            retry_after = lost.retry_after if isinstance(lost, ResponseError) else None
            delay = self._schedule.next_delay(retry_after or 0.0)
        if delay is None:
            raise lost
        self._advance(_Input.CONNECTION_LOST)
        await asyncio.sleep(delay)

    def _disconnect(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


def _run_id(response: aiohttp.ClientResponse) -> str:
    run_id = response.headers.get(RUN_ID_HEADER, "")
    if run_id and not RUN_ID_PATTERN.fullmatch(run_id):
        raise ProtocolError("the service sent a malformed run id")
    return run_id


def _line(message: sse.Message) -> str:
    if message.id is None:
        return msgspec.json.encode(events.decode_gap(message)).decode()
    return message.data
