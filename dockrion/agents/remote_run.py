"""One run of an agent behind a URL: requests to its server, their responses, and how it is stopped."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any, NamedTuple, Self

import aiohttp
import msgspec
from msgspec import UNSET
from multidict import CIMultiDict

from dockrion.agents.external import IdleTimeout, until_idle
from dockrion.agents.identity_headers import identity_headers
from dockrion.agents.reconnecting import Reconnecting, connection_failure
from dockrion.agents.responses import Begun, Interruption, Lost, Part, ProtocolError, ResponseReader, Result
from dockrion.agents.servers import ServerProtocol
from dockrion.dockfile.agent_structs import AgentSpec
from dockrion.errors import AgentTimedOut
from dockrion.http_client import HttpEndpoint, loggable, succeeded
from dockrion.logs import log
from dockrion.runs.agent import Call
from dockrion.runs.outcome import Failed, Outcome
from dockrion.runs.session import RunSession

_logger = logging.getLogger(__name__)
STOP_TIMEOUT = 3.0
_COMPRESSED = "the agent process's response is compressed, though that was not accepted"
_MAX_UNANSWERED = 100
_ERROR_BODY_BYTES = 4096
_ERROR_BODY_TIMEOUT = 2.0
_END_TIMEOUT = 0.02
_ACCEPTED = 202  # RFC 9110, 15.3.3
_TEMPORARY = frozenset({408, 425, 429, 502, 503, 504})


class Abandoned(Exception):
    """The service no longer waits for the agent process, which is to stop."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Server(NamedTuple):
    """The server at `agent.url`, and how it is asked.

    Attributes:
        spec: Its section of the Dockfile.
        protocol: What it speaks.
        endpoint: Where payloads are posted.
        cancel: Where it is asked to stop a run, None for nowhere.
        token: What is sent as the bearer token, None for none.
        push_timeout: The longest time without a pushed event, in seconds.
    """

    spec: AgentSpec
    protocol: ServerProtocol
    endpoint: HttpEndpoint
    cancel: HttpEndpoint | None
    token: str | None
    push_timeout: float


class _Request(NamedTuple):
    """A request to the agent's server, and how its response is read."""

    body: bytes
    reader_for: Callable[[str], ResponseReader]
    headers: Mapping[str, str] = {}

    def followed_by(self, interruption: Interruption, answers: list[Any]) -> Self:
        """Return the request with which an interrupted agent goes on."""
        body = interruption.resumed(self.body, answers)
        return type(self)(body, interruption.reader_for or self.reader_for, interruption.headers)


class RemoteRun:
    """Posts the payload of a run, and forwards the response while it arrives.

    Args:
        server: The server.
        call: The call.
        session: The run.
    """

    def __init__(self, server: Server, call: Call, session: RunSession) -> None:
        self._server = server
        self._call = call
        self._session = session
        self._begun: Begun | None = None
        self._reconnecting = Reconnecting(session.run_id)

    async def invoke(self) -> Outcome:
        """Return the outcome of the agent's work."""
        protocol = self._server.protocol
        request = _Request(protocol.body(self._call, self._session.run_id), protocol.reader_for)
        unanswered = 0  # times that the agent has asked since the last answer
        while isinstance(result := await self._exchange(request), Interruption):
            answers = await _ask(result, self._session)
            if answers:
                unanswered = unanswered + 1 if all(each is UNSET for each in answers) else 0
            if unanswered > _MAX_UNANSWERED:
                raise ProtocolError("the agent's server asks again and again what nobody answers")
            request = request.followed_by(result, answers)
        return result

    async def request_stop(self) -> None:
        """Ask the process to stop, as it may not notice that the connection is closed."""
        await self.stop_begun()
        if self._server.cancel is not None:
            run_id = self._session.run_id
            headers = {"X-Dockrion-Run-Id": run_id, "X-Dockrion-Agent": self._server.spec.name}
            headers |= {**self._session.request.context_headers, "Content-Type": "application/json"}
            await _post_stop(self._server.cancel, msgspec.json.encode({"run_id": run_id}), headers, run_id)

    async def stop_begun(self) -> None:
        """Ask the server to stop what it has begun, if it has said how."""
        if self._begun is not None:
            run_id, body = self._session.run_id, self._begun.stop_body
            await _post_stop(self._server.endpoint, body, self._headers(), run_id)

    async def _exchange(self, request: _Request) -> Outcome | Interruption:
        """Post a request and read what it begins, over as many connections as that takes."""
        spec = self._server.spec
        total = asyncio.timeout(spec.total_timeout)
        idle = IdleTimeout(self._session, spec.read_timeout)
        try:
            async with total, idle.running():
                while isinstance(result := await self._attempt(request, idle, total), Lost):
                    if self._begun is None:
                        return result.outcome
                    idle.pause()
                    if not await self._reconnecting.wait(result):
                        raise Abandoned(result.outcome)
                    idle.restart()
                    request = request.followed_by(self._begun.follow(), [])
                return result
        except TimeoutError:
            if idle.expired:
                message = f"the agent process has sent nothing for {idle.seconds:g} s"
            elif total.expired():
                message = f"the agent process has not finished within {spec.total_timeout} s"
            else:
                raise
            raise Abandoned(Failed(message, AgentTimedOut.code)) from None

    async def _attempt(self, request: _Request, idle: IdleTimeout, total: asyncio.Timeout) -> Result:
        self._reconnecting.connects()
        try:
            return await self._post(request, idle, total)
        except (aiohttp.ClientError, ConnectionError) as error:
            if self._begun is None:
                raise
            return Lost(connection_failure(error))

    async def _post(self, request: _Request, idle: IdleTimeout, total: asyncio.Timeout) -> Result:
        protocol = self._server.protocol
        data = BytesIO(request.body)  # which aiohttp sends in chunks
        headers = self._headers()
        headers.update(request.headers)
        async with self._server.endpoint.request("POST", data=data, headers=headers) as response:
            try:
                if not succeeded(response.status):
                    idle.pause()
                    failed = protocol.failure(response.status, await _error_body(response))
                    return Lost(failed) if response.status in _TEMPORARY else failed
                if response.status == _ACCEPTED and protocol.pushes and self._call.events_url is not None:
                    idle.pause()
                    total.reschedule(None)  # the response is complete; from now on events are pushed
                    raise Abandoned(await until_idle(self._session, self._server.push_timeout))
                if not _is_identity(response):
                    raise ProtocolError(_COMPRESSED)
                return await self._forward(response, request.reader_for(response.content_type), idle)
            finally:
                response.close()  # discards what has not been read

    def _headers(self) -> CIMultiDict[str]:
        server, call = self._server, self._call
        headers = {
            "Accept": server.protocol.accept,
            "Content-Type": "application/json",
            "Authorization": None if server.token is None else f"Bearer {server.token}",
            **server.protocol.headers(call, self._session.run_id),
            **call.request.context_headers,
        }
        if server.spec.forward_identity and call.caller is not None:
            headers |= identity_headers(call.caller)
        sent = CIMultiDict(call.request.headers)
        sent.update({name: value for name, value in headers.items() if value is not None})
        return sent

    async def _forward(
        self, response: aiohttp.ClientResponse, reader: ResponseReader, idle: IdleTimeout
    ) -> Result:
        """Emit the events in a response while it arrives, and return with what it ends."""
        async for data in response.content.iter_any():
            idle.pause()  # waiting for the backend does not count against the agent
            if (result := await self._emit(reader.feed(data))) is not None:
                await _await_end(response)
                return result
            idle.restart()
            await asyncio.sleep(0)  # a response that is always readable must not block the event loop
        return await self._emit(reader.end()) or connection_failure(aiohttp.ClientPayloadError())

    async def _emit(self, parts: Iterator[Part]) -> Result | None:
        emit = self._session.from_process.emit
        for part in parts:
            if isinstance(part, Result):
                return part
            if isinstance(part, Begun):
                self._begun = part
                continue
            self._reconnecting.has_news = True
            try:
                await emit(part)
            except (TypeError, ValueError) as error:
                raise ProtocolError(f"the agent process sent an invalid event: {error}") from error
        return None


async def _post_stop(endpoint: HttpEndpoint, body: bytes, headers: Mapping[str, str], run_id: str) -> None:
    try:
        async with (
            asyncio.timeout(STOP_TIMEOUT),
            endpoint.request("POST", data=body, headers=headers) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, OSError, TimeoutError, UnicodeError) as error:
        reason = loggable(error)
        log(_logger, logging.WARNING, "agent process stop request failed", run_id=run_id, reason=reason)
    else:
        if not succeeded(status):
            log(_logger, logging.WARNING, "agent process refused to stop", run_id=run_id, status=status)


def _is_identity(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("Content-Encoding", "identity").lower() == "identity"


async def _await_end(response: aiohttp.ClientResponse) -> None:
    """Wait a moment for the end of the response, so that its connection can be reused."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_END_TIMEOUT):
            await response.content.readany()


async def _ask(interruption: Interruption, session: RunSession) -> list[Any]:
    """Ask what the agent asks; return the answers, `UNSET` for those that were not there in time."""
    if not interruption.questions:
        return []
    try:
        return await session.asking.ask_each(interruption.questions)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"the agent's server asks a malformed question: {error}") from error


async def _error_body(response: aiohttp.ClientResponse) -> str:
    """Return the beginning of the body of a response with an error status, unless it is compressed."""
    body = b""
    if not _is_identity(response):
        return ""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_ERROR_BODY_TIMEOUT):
            while len(body) < _ERROR_BODY_BYTES and (data := await response.content.readany()):
                body += data
    return body[:_ERROR_BODY_BYTES].decode("utf-8", "replace")
