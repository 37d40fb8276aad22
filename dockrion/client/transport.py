"""HTTP requests to one service, and which of them may be sent again."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec
from aiohttp import hdrs
from yarl import URL

from dockrion.background_tasks import BackgroundTasks
from dockrion.client import errors
from dockrion.client.errors import ClientError, ConnectionLost, ProtocolError, ResponseError, Unauthorized
from dockrion.client.retry import RetrySchedule
from dockrion.ids import IDEMPOTENCY_HEADER
from dockrion.wire import sse

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 310.0  # of an event stream: more than the longest heartbeat_interval
_RESPONSE_TIMEOUT = 120.0
_INVOKE_TIMEOUT = 86_400.0 + _RESPONSE_TIMEOUT  # `arguments.timeout_sec` may be a day
_CLOSE_TIMEOUT = 10.0
_MAX_ERROR_BYTES = 64 * 1024
RESPONSE = aiohttp.ClientTimeout(total=_RESPONSE_TIMEOUT, sock_connect=_CONNECT_TIMEOUT)
INVOKE = aiohttp.ClientTimeout(total=_INVOKE_TIMEOUT, sock_connect=_CONNECT_TIMEOUT)
STREAM = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=_READ_TIMEOUT)
# Error codes with which the service rejects a request before it has done any work for it.
OVERLOADED = frozenset(
    {"RATE_LIMIT_EXCEEDED", "TOO_MANY_RUNS", "TOO_MANY_SUBSCRIBERS", "TOO_MANY_CONNECTIONS"}
)
NOT_STARTED = OVERLOADED | {"SERVICE_UNAVAILABLE"}  # of a request that starts a run
Token = str | Callable[[], str | Awaitable[str]]
T = TypeVar("T")


class Request(msgspec.Struct, frozen=True):
    """One request.

    Attributes:
        query: The parameters; those that are None are left out.
        retryable: The error codes after which it may be sent again. A GET may be after any.
    """

    method: str
    path: tuple[str, ...]
    query: dict[str, str | None] = {}
    headers: dict[str, str] = {}
    body: bytes | None = None
    retryable: frozenset[str] = OVERLOADED
    timeout: aiohttp.ClientTimeout = RESPONSE

    @property
    def carried_out_once(self) -> bool:
        """Whether it may be sent again although an earlier attempt may have been carried out."""
        return IDEMPOTENCY_HEADER in self.headers

    def __str__(self) -> str:
        return f"{self.method} /{'/'.join(self.path)}"


class Closable(Protocol):
    def close(self) -> None: ...


class Transport:
    """Sends requests to a service, and owns the connections.

    Args:
        url: The service's URL.
        token: The bearer token, or a function, sync or async, that is called for each request.
        headers: More headers of each request.
        retry_timeout: Seconds to keep retrying while the service is unreachable or busy.

    Attributes:
        streams: The event streams that are being read.

    Raises:
        ValueError: The URL is malformed.
    """

    def __init__(
        self,
        url: str,
        token: Token | None = None,
        headers: Sequence[tuple[str, str]] = (),
        retry_timeout: float = 0.0,
    ) -> None:
        self._url = URL(url)
        if self._url.scheme not in ("http", "https") or not self._url.host or self._url.query_string:
            raise ValueError("the URL of a service is http://host:port or https://host:port")
        self._token = token
        self._headers = headers
        self._retry_timeout = retry_timeout
        self._session: aiohttp.ClientSession | None = None
        self.streams: set[Closable] = set()
        self._background = BackgroundTasks()

    def open(self, connector: aiohttp.BaseConnector | None = None, **session: Any) -> None:
        """Accept requests until `aclose`.

        Args:
            connector: How to connect, by default over any number of ordinary connections.
            session: More arguments of `aiohttp.ClientSession`.
        """
        if self._session is not None:
            raise RuntimeError("the client is in use already; create another one")
        self._session = aiohttp.ClientSession(
            connector=connector or aiohttp.TCPConnector(limit=0),
            headers=[(hdrs.ACCEPT_ENCODING, "identity"), *self._headers],
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # compression is not accepted: a small body could expand to a huge one
            **session,
        )

    async def aclose(self) -> None:
        """Close the streams, wait some seconds for background requests, and close the connections."""
        for stream in tuple(self.streams):
            stream.close()
        try:
            if self._background:
                await asyncio.wait(self._background, timeout=_CLOSE_TIMEOUT)
        finally:
            session, self._session = self._session, None
            await self._background.cancel(timeout=_CLOSE_TIMEOUT)
            if session is not None:
                await session.close()

    def retry_schedule(self) -> RetrySchedule:
        return RetrySchedule(self._retry_timeout)

    def run_in_background(self, work: Coroutine[None, None, None]) -> None:
        """Run a request whose result nobody awaits. `aclose` waits for it; its errors are ignored."""
        self._background.start(_ignore_errors(work))

    async def cancel_run(self, run_id: str, reason: str, incarnation: str | None) -> None:
        """Request the cancellation of a run.

        Args:
            run_id: The run.
            reason: Why, for its readers.
            incarnation: Its incarnation, None if that is unknown.

        Raises:
            ResponseError, ConnectionLost, ProtocolError: As `send`.
        """
        query = {"reason": reason, "incarnation": incarnation}
        (await self.send(Request("DELETE", ("runs", run_id), query=query))).close()

    async def fetch(self, request: Request, type_: type[T]) -> T:
        """Send a request, with retries, and decode the JSON of its response.

        Raises:
            ResponseError, ConnectionLost, ProtocolError: As `send`.
        """
        body = await self.with_retry(request, self._send_and_read)
        try:
            return msgspec.json.decode(body, type=type_)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ProtocolError(f"the response to {request} is malformed: {error}") from None

    async def with_retry(self, request: Request, send: Callable[[Request], Awaitable[T]]) -> T:
        """Send a request, and again when the service says when (`Retry-After`) and a retry is safe.

        A request that is carried out once is also sent again when the connection was lost.

        Args:
            request: The request.
            send: Sends it, and returns what the caller needs of the response.

        Raises:
            ResponseError, ConnectionLost, ProtocolError: As `send`.
        """
        schedule = self.retry_schedule()
        lost = False
        while True:
            try:
                return await send(request)
            except ConnectionLost as error:
                lost = lost or error.sent
                if not (lost and request.carried_out_once):
                    raise
                delay = schedule.next_delay()
                if delay is None:
                    raise
            except ResponseError as error:
                safe = request.method == "GET" or error.code in request.retryable
                if error.retry_after is None or not safe:
                    raise
                delay = schedule.next_delay(error.retry_after)
                if delay is None:
                    raise
            await asyncio.sleep(delay)

    async def send(self, request: Request) -> aiohttp.ClientResponse:
        """Send a request, and once more with a new token if the service rejects the token.

        Raises:
            ResponseError: The service responded with an error status.
            ConnectionLost: The service cannot be reached, or the connection broke.
            ProtocolError: The response is not HTTP.
        """
        token = await self._current_token()
        try:
            return await self._send_once(request, token)
        except Unauthorized:
            renewed = await self._current_token()
            if renewed == token:
                raise
        return await self._send_once(request, renewed)

    async def read(self, response: aiohttp.ClientResponse, limit: int = -1) -> bytes:
        """Return the bytes of a body that have arrived, at least one; none at its end.

        Args:
            response: The response.
            limit: The most bytes to return, -1 for all.

        Raises:
            ConnectionLost: The connection broke.
        """
        try:
            return await (response.content.readany() if limit < 0 else response.content.read(limit))
        except (aiohttp.ClientError, OSError) as error:
            raise errors.from_exception(error, self._url.origin()) from error

    async def read_body(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """Return a body, or somewhat more than `limit` bytes of it.

        Raises:
            ConnectionLost: The connection broke.
        """
        body = bytearray()
        while len(body) <= limit and (chunk := await self.read(response)):
            body += chunk
        return bytes(body)

    async def _send_and_read(self, request: Request) -> bytes:
        response = await self.send(request)
        try:
            body = await self.read_body(response, sse.MAX_MESSAGE_BYTES)
        finally:
            release(response)
        if len(body) > sse.MAX_MESSAGE_BYTES:
            raise ProtocolError(f"the response to {request} is too long")
        return body

    async def _current_token(self) -> str | None:
        if self._token is None or isinstance(self._token, str):
            return self._token
        token = self._token()
        return await token if inspect.isawaitable(token) else token

    async def _send_once(self, request: Request, token: str | None) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is closed: use it inside `async with`")
        query = {name: value for name, value in request.query.items() if value is not None}
        headers = dict(request.headers)
        if token is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
        if request.body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        try:
            response = await self._session.request(
                request.method,
                self._url.joinpath(*request.path).with_query(query),
                headers=headers,
                data=request.body,
                timeout=request.timeout,
                allow_redirects=False,  # another host must not get the credentials
            )
        except (aiohttp.ClientError, OSError) as error:
            raise errors.from_exception(error, self._url.origin()) from error
        if response.status < HTTPStatus.MULTIPLE_CHOICES:
            return response
        try:
            body = await self.read_body(response, _MAX_ERROR_BYTES)
        finally:
            release(response)
        raise errors.from_response(response.status, response.reason or "", response.headers, body)


def release(response: aiohttp.ClientResponse) -> None:
    """Return a connection to the pool, or close it if there is more to come on it."""
    if response.content.at_eof():
        response.release()
    else:
        response.close()


async def _ignore_errors(work: Coroutine[None, None, None]) -> None:
    with suppress(ClientError):
        await work
