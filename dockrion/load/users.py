"""Virtual users: each has one run at a time."""

import asyncio
import time
from http import HTTPStatus
from socket import SO_RCVBUF, SOL_SOCKET, socket
from typing import Annotated, Any

import aiohttp
import msgspec

from dockrion.client.errors import ClientError
from dockrion.client.transport import INVOKE, STREAM, Request, Transport, release
from dockrion.ids import RUN_ID_HEADER
from dockrion.load.measurements import Measurements
from dockrion.load.options import Options
from dockrion.load.readers import LoadError, Reader, code_suffix, send
from dockrion.load.verifier import compare

GRACE_SECONDS = 30.0
RUN_TIMEOUT = 7200.0  # twice the default of `max_run_duration`
_PAUSE_AFTER_ERROR = 0.1
_SLOW_BUFFER_BYTES = 4096
_MAX_RESPONSE_BYTES = 64 * 1024


class _Accepted(msgspec.Struct):
    run_id: Annotated[str, msgspec.Meta(min_length=1)]
    events_url: str | None


class _ErrorCode(msgspec.Struct):
    code: str = ""


class Users:
    """All users of a process.

    Args:
        options: What they do.
        measurements: Where their measurements are added.
    """

    def __init__(self, options: Options, measurements: Measurements) -> None:
        self._options = options
        self._measurements = measurements
        self._fast = Transport(options.url, headers=options.header)
        self._slow = Transport(options.url, headers=options.header)  # for readers that are slow on purpose
        self._ends_at = time.monotonic() + (options.duration or 0)

    async def work(self, stop: asyncio.Event) -> None:
        """Let the users work until all are done or, once `stop` is set, leave their runs as they are."""
        slow = aiohttp.TCPConnector(limit=0, socket_factory=_small_socket)
        self._fast.open()
        self._slow.open(slow, read_bufsize=_SLOW_BUFFER_BYTES)
        users = asyncio.create_task(self._run_users())
        stopped = asyncio.create_task(stop.wait())
        timeout = self._options.duration and self._options.duration + GRACE_SECONDS
        try:
            await asyncio.wait([users, stopped], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not users.done() and not stop.is_set():
                for _ in range(self._measurements.started - self._measurements.ended):
                    self._measurements.count_error(f"not finished {GRACE_SECONDS:g} s after --duration")
        finally:
            users.cancel()
            stopped.cancel()
            await asyncio.wait([users, stopped])
            await self._fast.aclose()
            await self._slow.aclose()
        if not users.cancelled():
            users.result()

    async def _run_users(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._options.concurrency):
                group.create_task(self._run_user(number))

    async def _run_user(self, number: int) -> None:
        while self._runs_left():
            self._measurements.started += 1
            requested = time.perf_counter()
            succeeded = await self._run(number, requested)
            self._measurements.ended += 1
            if succeeded:
                self._measurements.succeeded += 1
                self._measurements.whole_run.add(time.perf_counter() - requested)
            else:
                await asyncio.sleep(_PAUSE_AFTER_ERROR)

    def _runs_left(self) -> bool:
        if self._options.runs is not None:
            return self._measurements.started < self._options.runs
        return time.monotonic() < self._ends_at

    async def _run(self, user: int, requested: float) -> bool:
        """Have one run, and return whether it succeeded."""
        try:
            async with asyncio.timeout(RUN_TIMEOUT):
                match self._options.pattern:
                    case "invoke":
                        await self._invoke()
                        return True
                    case "stream":
                        return self._judge([await self._stream(user, requested)])
                    case "runs":
                        return self._judge(await self._start_and_read(user, requested))
        except ClientError as error:
            self._measurements.count_error(str(error))
        except TimeoutError:
            self._measurements.count_error(f"a run is not over after {RUN_TIMEOUT:,g} s")
        return False

    def _post(self, *path: str, **more: Any) -> Request:
        return Request("POST", path, body=self._options.payload, **more)

    async def _invoke(self) -> None:
        response = await send(self._fast, self._post("invoke", timeout=INVOKE))
        try:
            if response.content_type != "application/json":
                raise LoadError("the response is not application/json")
            while chunk := await self._fast.read(response):
                self._measurements.received += len(chunk)
        finally:
            release(response)

    async def _stream(self, user: int, requested: float) -> Reader:
        slow = self._options.is_slow(user, 0)
        resumes = bool(self._options.reconnect or self._options.slow_readers)
        query = {"on_disconnect": "continue"} if resumes else {}
        request = self._post("invoke", "stream", query=query, timeout=STREAM)
        requested_at = time.time()
        response = await send(self._slow if slow else self._fast, request)
        run_id = response.headers.get(RUN_ID_HEADER, "")
        reader = self._reader(f"run {run_id}", run_id if resumes else "", requested, slow=slow)
        await reader.read(response, requested_at)
        return reader

    async def _start_and_read(self, user: int, requested: float) -> list[Reader]:
        run_id = await self._start()
        readers = [
            self._reader(
                f"run {run_id}, reader {number + 1}",
                run_id,
                requested,
                slow=self._options.is_slow(user, number),
            )
            for number in range(self._options.readers)
        ]
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.read())
        return readers

    async def _start(self) -> str:
        """Start a run, and return its id."""
        response = await send(self._fast, self._post("runs"))
        try:
            if response.status != HTTPStatus.ACCEPTED:
                raise LoadError(f"HTTP {response.status} from POST /runs")
            body = await self._fast.read_body(response, _MAX_RESPONSE_BYTES)
            accepted = msgspec.json.decode(body, type=_Accepted)
        except (msgspec.DecodeError, RecursionError):
            raise LoadError("the response to POST /runs names no run") from None
        finally:
            release(response)
        if accepted.events_url is None:
            raise LoadError("the service streams no events: events_url is null")
        return accepted.run_id

    def _reader(self, name: str, run_id: str, requested: float, *, slow: bool) -> Reader:
        transport = self._slow if slow else self._fast
        reconnect = self._options.reconnect
        return Reader(transport, self._measurements, name, run_id, requested, reconnect=reconnect, slow=slow)

    def _judge(self, readers: list[Reader]) -> bool:
        """Compare the readers of a run, and return whether it succeeded for all of them."""
        compare([reader.verifier for reader in readers])
        ends = [reader.verifier.terminal for reader in readers]
        for end in ends:
            if end is not None and end.event != "complete":
                self._measurements.count_error(f"a run ended with {end.event}{_error_code(end.data)}")
                return False
        return None not in ends


def _error_code(data: str) -> str:
    try:
        return code_suffix(msgspec.json.decode(data, type=_ErrorCode).code)
    except (msgspec.DecodeError, RecursionError):
        return ""


def _small_socket(address: Any) -> socket:
    """Return a socket that buffers little for a reader that does not read."""
    family, type_, protocol = address[:3]
    made = socket(family, type_, protocol)
    made.setsockopt(SOL_SOCKET, SO_RCVBUF, _SLOW_BUFFER_BYTES)
    return made
