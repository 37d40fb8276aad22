"""One reader of one run, over all its connections."""

import asyncio
import random
import re
import time
from collections.abc import Sequence
from enum import Enum, auto
from http import HTTPStatus
from itertools import groupby

import aiohttp
from aiohttp import hdrs

from dockrion.client.errors import ClientError, ConnectionLost, InvalidRequest, ResponseError
from dockrion.client.event_response import EventResponse
from dockrion.client.transport import STREAM, Request, Transport, release
from dockrion.ids import RUN_ID_HEADER
from dockrion.load.measurements import Measurements
from dockrion.load.verifier import Envelope, Verifier, decode_envelopes
from dockrion.wire.sse import MEDIA_TYPE, Message

_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,49}", re.ASCII)
_RUN_PATH = re.compile(r"/runs/[^/]+/events$")
_PAUSE = 0.05
_SLOW_READ_BYTES = 4096
_MAX_ERROR_LENGTH = 500
_MAX_FRUITLESS = 5  # connections in a row without a new event


class LoadError(ClientError):
    """A run or reader failed; the message is the kind of error that is counted."""


class _End(Enum):
    """Why a connection ended."""

    RUN_OVER = auto()
    LEFT = auto()  # the reader left, to reconnect
    EXPIRED = auto()  # the service ended it after its timeout
    EARLY = auto()  # the service ended it before the run's end
    BROKEN = auto()


async def send(transport: Transport, request: Request) -> aiohttp.ClientResponse:
    """Send a request.

    Raises:
        ClientError: It failed; the message is the kind of error.
    """
    try:
        return await transport.send(request)
    except ResponseError as error:
        route = _RUN_PATH.sub("/runs/{id}/events", str(request))
        # All requests have the same payload, so what is wrong with it is the same each time.
        details = "; ".join((error.message, *error.detail_lines)) if isinstance(error, InvalidRequest) else ""
        kind = f"HTTP {error.status}{code_suffix(error.code)} from {route}"
        raise LoadError(f"{kind}: {details}"[:_MAX_ERROR_LENGTH] if details else kind) from None


def code_suffix(code: str) -> str:
    """Return an error code after a space; nothing for what is not one, since kinds of errors are few."""
    return f" {code}" if _ERROR_CODE.fullmatch(code) else ""


class Reader:
    """Reads the events of a run.

    Args:
        transport: Sends its requests.
        measurements: Where its measurements are added.
        name: Its name in descriptions of violations.
        run_id: The run; empty if it cannot be resumed.
        requested: When the run was requested, by `time.perf_counter`.
        reconnect: The probability that it leaves after each time it receives events.
        slow: Whether it reads slowly.

    Attributes:
        verifier: What it has verified.
    """

    def __init__(
        self,
        transport: Transport,
        measurements: Measurements,
        name: str,
        run_id: str,
        requested: float,
        *,
        reconnect: float = 0.0,
        slow: bool = False,
    ) -> None:
        self.verifier = Verifier(measurements, name, slow=slow)
        self._transport = transport
        self._measurements = measurements
        self._run_id = run_id
        self._requested = requested
        self._reconnect = reconnect
        self._slow = slow
        self._connected_at = 0.0  # by time.time: events emitted before it are history
        self._last_received = 0.0  # by time.perf_counter
        self._expiring = False

    async def read(self, response: aiohttp.ClientResponse | None = None, requested_at: float = 0.0) -> None:
        """Read to the end.

        Args:
            response: The response that started the run, None for a run that exists.
            requested_at: When that was requested, by `time.time`.
        """
        self._connected_at = requested_at
        complete = False
        try:
            await self._read_connections(response)
            complete = True
        except ClientError as error:
            self._measurements.count_error(str(error))
        self.verifier.end(complete=complete)

    async def _read_connections(self, response: aiohttp.ClientResponse | None) -> None:
        end, fruitless = _End.EARLY, 0
        while fruitless < _MAX_FRUITLESS:
            if fruitless:
                await asyncio.sleep(_PAUSE * fruitless)
            before = self.verifier.position
            end = await self._read_connection(response or await self._connect())
            if end is _End.RUN_OVER:
                return
            response = None
            fruitful = self.verifier.position > before or end is _End.EXPIRED
            fruitless = 0 if fruitful else fruitless + 1
        if end is _End.BROKEN:
            raise LoadError("connections break again and again without an event")

    async def _connect(self) -> aiohttp.ClientResponse:
        if not self._run_id:
            raise LoadError(f"cannot resume: the response has no {RUN_ID_HEADER}")
        if self._connected_at:
            self._measurements.reconnects += 1
        self._connected_at = time.time()
        headers: dict[str, str] = {hdrs.ACCEPT: MEDIA_TYPE}
        if self.verifier.position:
            headers["Last-Event-ID"] = str(self.verifier.position)
        path = ("runs", self._run_id, "events")
        return await send(self._transport, Request("GET", path, headers=headers, timeout=STREAM))

    async def _read_connection(self, response: aiohttp.ClientResponse) -> _End:
        self._expiring = False
        self._measurements.open += 1
        try:
            if response.status == HTTPStatus.NO_CONTENT:
                return _End.RUN_OVER
            return await self._read_events(EventResponse(self._transport, response))
        except ConnectionLost as error:
            if not self._run_id:
                raise
            if self._slow:  # the service disconnects such readers
                self._measurements.disconnected += 1
            else:
                self._measurements.count_error(str(error))
            return _End.BROKEN
        finally:
            self._measurements.open -= 1
            release(response)

    async def _read_events(self, response: EventResponse) -> _End:
        limit = _SLOW_READ_BYTES if self._slow else -1
        while True:
            if self._slow:
                await asyncio.sleep(_PAUSE)
            messages = await response.read(limit)
            if messages is None:
                break
            self._measurements.received += response.received
            if self._process(messages) and random.random() < self._reconnect:
                return _End.LEFT
        if self.verifier.terminal is not None or not self._run_id:
            return _End.RUN_OVER
        return _End.EXPIRED if self._expiring else _End.EARLY

    def _process(self, messages: Sequence[Message]) -> bool:
        """Verify and measure messages, and return whether there are events among them."""
        any_events = False
        for is_event, group in groupby(messages, lambda message: message.id is not None):
            if is_event:
                any_events = True
                self._process_events(list(group))
            else:
                for message in group:
                    self._process_control(message)
        return any_events

    def _process_control(self, message: Message) -> None:
        match message.event:
            case "gap":
                self.verifier.verify_gap(message)
            case "timeout":
                self._expiring = True
            case "gone":
                raise LoadError("the run's events are no longer stored")
            case "heartbeat" | "auth_expired":
                pass
            case _:
                self.verifier.report_bad_id(message)

    def _process_events(self, events: Sequence[Message]) -> None:
        envelopes = decode_envelopes(events)
        self._measurements.events += len(events)
        if not self._slow:  # the delays of a slow reader are its own
            self._measure(envelopes)
        self.verifier.verify(events, envelopes)

    def _measure(self, envelopes: Sequence[Envelope]) -> None:
        now, measurements = time.perf_counter(), self._measurements
        if self._last_received:
            measurements.between_events.add(now - self._last_received)
        else:
            measurements.time_to_first_event.add(now - self._requested)
        if len(envelopes) > 1:
            measurements.between_events.add(0.0, len(envelopes) - 1)
        self._last_received = now
        wall_time = time.time()
        ages = [wall_time - each.timestamp.timestamp() for each in envelopes if each.timestamp is not None]
        oldest = wall_time - self._connected_at
        if ages and max(ages) > oldest:
            ages = [age for age in ages if age <= oldest]
        measurements.emit_to_receive.add_all(ages)
