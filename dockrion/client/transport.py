"""Requests to one service, and what may be sent twice."""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Protocol, TypeVar

import aiohttp
import msgspec
from aiohttp import hdrs
from yarl import URL

from dockrion import errors
from dockrion.client.errors import (
    ClientError,
    ConnectionLost,
    ProtocolError,
    ResponseError,
    Unauthorized,
    refusal,
)
from dockrion.client.retry import Patience

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 310.0  # more than the longest heartbeat_interval
MOST_BYTES = 128 * 1024 * 1024  # of an answer or an event: more than the largest `limits.max_event_bytes`
_MOST_OF_AN_ERROR = 64 * 1024
_ANSWER_SECONDS = 120.0
_LONGEST_INVOKE_SECONDS = 86_400.0 + _ANSWER_SECONDS  # what `arguments.timeout_sec` may be
_ENDING_SECONDS = 10.0
BUSY = frozenset(
    error.code
    for error in (
        errors.RateLimited,
        errors.TooManyRuns,
        errors.TooManySubscribers,
        errors.TooManyConnections,
    )
)
NOT_BEGUN = BUSY | {errors.ServiceUnavailable.code}
ANSWER = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
INVOKE = aiohttp.ClientTimeout(total=_LONGEST_INVOKE_SECONDS, sock_connect=CONNECT_SECONDS)
STREAM = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
Token = str | Callable[[], str | Awaitable[str]]
T = TypeVar("T")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    Attributes:
        unworked: The codes of refusals that are sure to come before any work, so that the request may
            be sent again. Of a GET, any may.
    """

    method: str
    path: tuple[str, ...]
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes | None = None
    unworked: frozenset[str] = BUSY
    timeout: aiohttp.ClientTimeout = ANSWER


Send = Callable[[Request], Awaitable[aiohttp.ClientResponse]]


class Reader(Protocol):
    """Holds a connection, and lets go of it."""

    def leave(self) -> None: ...


class Service:
    """Sends requests to a service, and owns the connections.

    Args:
        url: Where it is.
        token: What proves who asks, or a function, sync or async, that is called for each request.
        headers: More headers of each request.
        retry_timeout: Seconds to keep retrying while the service is unreachable or busy; 0 for no retry.

    Attributes:
        streams: Those that are being read.

    Raises:
        ValueError: The URL is none.
    """

    def __init__(
        self, url: str, token: Token | None, headers: Mapping[str, str], retry_timeout: float
    ) -> None:
        self._url = URL(url)
        if self._url.scheme not in ("http", "https") or not self._url.host or self._url.query_string:
            raise ValueError("the URL of a service is http://host:port or https://host:port")
        self._token = token
        self._headers = headers
        self._retry_timeout = retry_timeout
        self._session: aiohttp.ClientSession | None = None
        self.streams: set[Reader] = set()
        self._last_words: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Be ready for requests, from now on until `aclose`."""
        if self._session is not None:
            raise RuntimeError("the client is in use: make one more")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={hdrs.ACCEPT_ENCODING: "identity", **self._headers},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # nothing compressed was asked for, and a little can become a lot
        )

    async def aclose(self) -> None:
        """Send what is still to be sent, within a few seconds, and close the connections."""
        for stream in list(self.streams):
            stream.leave()
        try:
            if self._last_words:
                await asyncio.wait(self._last_words, timeout=_ENDING_SECONDS)
        finally:
            session, self._session = self._session, None
            for task in self._last_words:
                task.cancel()
            if self._last_words:
                await asyncio.wait(self._last_words)
            if session is not None:
                await session.close()

    def patience(self) -> Patience:
        return Patience(self._retry_timeout)

    def at_last(self, asking: Coroutine[None, None, None]) -> None:
        """Let something be asked that nobody waits for, by itself or before the service is closed."""
        task = asyncio.create_task(_in_vain_or_not(asking))
        self._last_words.add(task)
        task.add_done_callback(self._last_words.discard)

    async def cancel(self, run_id: str, reason: str) -> None:
        """Ask for a run to be cancelled.

        Raises:
            ResponseError, ConnectionLost, ProtocolError: As `once`.
        """
        request = Request(method=hdrs.METH_DELETE, path=("runs", run_id), query={"reason": reason})
        (await self.once(request)).close()

    async def json(self, request: Request, kind: type[T]) -> T:
        """Send a request and return its answer.

        Raises:
            ResponseError: The service answered with an error.
            ConnectionLost: It cannot be reached, or the connection broke.
            ProtocolError: The answer is not what it should be.
        """
        answer = await self.patiently(request)
        try:
            body = await self._body(answer, MOST_BYTES)
            if len(body) > MOST_BYTES:
                raise ProtocolError(f"the answer to {_name(request)} is too long")
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ProtocolError(f"the answer to {_name(request)} is none of Dockrion's: {error}") from None
        finally:
            release(answer)

    async def patiently(self, request: Request, send: Send | None = None) -> aiohttp.ClientResponse:
        """Send a request, and again as long as the service says when, where that is safe.

        Args:
            request: The request.
            send: Sends it, `once` unless given.

        Raises:
            ResponseError, ConnectionLost, ProtocolError: As `once`.
        """
        patience = self.patience()
        send = send or self.once
        while True:
            try:
                return await send(request)
            except ResponseError as error:
                safe = request.method == hdrs.METH_GET or error.code in request.unworked
                if error.retry_after is None or not safe:
                    raise
                pause = patience.pause(error.retry_after)
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def once(self, request: Request) -> aiohttp.ClientResponse:
        """Send a request; where it is refused for its token, and there is a new one, once more.

        Raises:
            ResponseError: The service answered with an error.
            ConnectionLost: It cannot be reached, or the connection broke.
            ProtocolError: The answer is no HTTP.
        """
        token = await self._current_token()
        try:
            return await self._send(request, token)
        except Unauthorized:
            renewed = await self._current_token()
            if renewed == token:
                raise
        return await self._send(request, renewed)

    async def read(self, answer: aiohttp.ClientResponse) -> bytes:
        """Return what has come of an answer, nothing at its end.

        Raises:
            ConnectionLost: The connection broke.
        """
        with self._connected():
            return await answer.content.readany()

    async def _current_token(self) -> str | None:
        if self._token is None or isinstance(self._token, str):
            return self._token
        given = self._token()
        return await given if inspect.isawaitable(given) else given

    async def _send(self, request: Request, token: str | None) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is closed: use it inside `async with`")
        headers = dict(request.headers)
        if token is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
        if request.body is not None:
            headers[hdrs.CONTENT_TYPE] = "application/json"
        with self._connected():
            answer = await self._session.request(
                request.method,
                self._url.joinpath(*request.path).with_query(request.query or None),
                headers=headers,
                data=request.body,
                timeout=request.timeout,
                allow_redirects=False,  # credentials are for this service
            )
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        try:
            body = await self._body(answer, _MOST_OF_AN_ERROR)
        finally:
            release(answer)
        raise refusal(answer.status, answer.reason or "", answer.headers, body)

    async def _body(self, answer: aiohttp.ClientResponse, most: int) -> bytes:
        """Read an answer, or somewhat more than the most that is wanted."""
        read = bytearray()
        while len(read) <= most and (chunk := await self.read(answer)):
            read += chunk
        return bytes(read)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Say in our words what is wrong with a connection.

        Raises:
            ConnectionLost: It broke, or there is none.
            ProtocolError: What came over it is no HTTP.
        """
        where = self._url.origin()  # without what may be secret
        try:
            yield
        except aiohttp.ClientSSLError as error:
            raise ConnectionLost(f"cannot reach {where}: its TLS is not to be trusted, or none") from error
        except aiohttp.ClientConnectorError as error:
            raise ConnectionLost(f"cannot reach {where}: {_reason(error.os_error)}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise ConnectionLost(f"cannot reach {where}: no answer in time") from error
        except TimeoutError as error:
            raise ConnectionLost(f"{where} sent nothing for too long") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError) as error:
            raise ConnectionLost(f"the connection to {where} broke") from error
        except aiohttp.ClientError as error:
            raise ProtocolError(f"what {where} answers is no HTTP") from error


def release(answer: aiohttp.ClientResponse) -> None:
    """Give a connection back, or close it where more would come."""
    if answer.content.at_eof():
        answer.release()
    else:
        answer.close()


async def _in_vain_or_not(asking: Coroutine[None, None, None]) -> None:
    with suppress(ClientError):
        await asking


def _reason(error: OSError) -> str:
    """Return what the system says of an error; those of names have numbers of their own."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or "no connection"


def _name(request: Request) -> str:
    return f"{request.method} /{'/'.join(request.path)}"
