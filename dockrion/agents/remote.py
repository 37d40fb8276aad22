"""The sidecar mode: an agent in another process, invoked over HTTP (`agent.url`)."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from io import BytesIO
from typing import Any, NamedTuple

import aiohttp
import msgspec
from multidict import CIMultiDict

from dockrion.agents.answer_delivery import AnswerDelivery
from dockrion.agents.external import IdleTimeout, until_idle
from dockrion.agents.identity_headers import identity_headers
from dockrion.agents.response_readers import Begun, Interruption, Part, ProtocolError, ResponseReader, Result
from dockrion.agents.servers import protocol_of
from dockrion.dockfile import Dockfile
from dockrion.errors import (
    AgentDisconnected,
    AgentProtocolError,
    AgentTimedOut,
    InvalidRequest,
    ServiceUnavailable,
)
from dockrion.http_client import HttpEndpoint, loggable, succeeded
from dockrion.logs import log
from dockrion.runs.agent import Call
from dockrion.runs.outcome import Failed, Outcome
from dockrion.runs.question import InputTimeout
from dockrion.runs.session import RunSession

_logger = logging.getLogger(__name__)
_CHECK_TIMEOUT = 2.0
_STOP_TIMEOUT = 3.0
_ERROR_BODY_BYTES = 4096
_ERROR_BODY_TIMEOUT = 2.0
_END_TIMEOUT = 0.02
_ACCEPTED = 202  # RFC 9110, 15.3.3
_UNREACHABLE = "the agent process cannot be reached"
_TRUNCATED = "the agent process closed the connection in the middle of its response"


class _Abandoned(Exception):
    """The service no longer waits for the agent process, which is to stop."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class _Request(NamedTuple):
    """A request to the agent's server, and how its response is read."""

    body: bytes
    reader_for: Callable[[str], ResponseReader]


class RemoteAgent:
    """Posts each payload to an agent process, and forwards its response while it arrives.

    Requests are never retried: the process may have acted on one that failed.

    Args:
        dockfile: Names the process and its time limits.
        token: The value of `agent.token_env`, sent with each payload; None to send none.
    """

    keeps_threads = False
    threads_in_memory = False

    def __init__(self, dockfile: Dockfile, token: str | None = None) -> None:
        self._spec = spec = dockfile.agent
        self._token = token
        self._protocol = protocol_of(dockfile)
        self.input_schema: dict[str, Any] | None = self._protocol.input_schema
        self._push_timeout = dockfile.streaming.ingest.idle_timeout
        self._agent = HttpEndpoint(spec.target, spec.connect_timeout)
        self._cancel = HttpEndpoint(spec.cancel_url, _STOP_TIMEOUT) if spec.cancel_url else None
        self._answers: AnswerDelivery | None = None
        if spec.input_url:
            self._answers = AnswerDelivery(spec.input_url, spec.name, spec.connect_timeout)
        self._health = HttpEndpoint(spec.health_url, spec.connect_timeout) if spec.health_url else None
        self._begun: dict[str, Begun] = {}  # of runs

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:  # noqa: ARG002
        try:
            async with nullcontext() if self._answers is None else self._answers.running(session):
                return await self._invoke(call, session)
        except asyncio.CancelledError:
            if not session.ended_elsewhere:  # else the process itself has ended the run
                await self._request_stop(call, session)
            raise
        except _Abandoned as abandoned:
            await self._request_stop(call, session)
            return abandoned.outcome
        except ProtocolError as error:
            await self._stop_begun(call, session)
            return Failed(str(error), AgentProtocolError.code)
        except RuntimeError:  # nobody can answer a question
            await self._stop_begun(call, session)
            raise
        except InvalidRequest as error:
            return Failed(error.message, error.code, error.details)
        except (aiohttp.ClientError, ConnectionError, UnicodeError) as error:
            reason = loggable(error)
            log(_logger, logging.WARNING, "agent request failed", run_id=session.run_id, reason=reason)
            return _connection_failure(error)
        finally:
            self._begun.pop(session.run_id, None)

    async def check(self) -> None:
        """Return if the process's health URL reports success or, without one, accepts connections.

        Raises:
            ServiceUnavailable: It does not.
        """
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                if self._health is None:
                    await self._agent.try_connect()
                    return
                async with self._health.request("GET") as response:
                    status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise ServiceUnavailable(_UNREACHABLE) from None
        if not succeeded(status):
            raise ServiceUnavailable(f"the agent process is not ready: status {status}")

    async def aclose(self) -> None:
        for endpoint in (self._agent, self._cancel, self._health, self._answers):
            if endpoint is not None:
                await endpoint.aclose()

    async def _invoke(self, call: Call, session: RunSession) -> Outcome:
        request = _Request(self._protocol.body(call, session.run_id), self._protocol.reader_for)
        while isinstance(result := await self._exchange(request, call, session), Interruption):
            body = result.resumed(request.body, await _ask(result, session))
            request = _Request(body, result.reader_for or request.reader_for)
        return result

    async def _exchange(self, request: _Request, call: Call, session: RunSession) -> Result:
        total = asyncio.timeout(self._spec.total_timeout)
        idle = IdleTimeout(session, self._spec.read_timeout)
        try:
            async with total, idle.running():
                return await self._post(request, call, session, idle, total)
        except TimeoutError:
            if idle.expired:
                message = f"the agent process has sent nothing for {idle.seconds:g} s"
            elif total.expired():
                message = f"the agent process has not finished within {self._spec.total_timeout} s"
            else:
                raise
            raise _Abandoned(Failed(message, AgentTimedOut.code)) from None

    async def _post(
        self, request: _Request, call: Call, session: RunSession, idle: IdleTimeout, total: asyncio.Timeout
    ) -> Result:
        headers = self._headers(call, session)
        data = BytesIO(request.body)  # which aiohttp sends in chunks
        async with self._agent.request("POST", data=data, headers=headers) as response:
            try:
                if not succeeded(response.status):
                    idle.pause()
                    return self._protocol.failure(response.status, await _error_body(response))
                if response.status == _ACCEPTED and self._protocol.pushes and call.events_url is not None:
                    idle.pause()
                    total.reschedule(None)  # the response is complete; from now on events are pushed
                    raise _Abandoned(await until_idle(session, self._push_timeout))
                _require_identity(response)
                reader = request.reader_for(response.content_type)
                return await self._forward(response, reader, session, idle)
            finally:
                response.close()  # discards what has not been read

    def _headers(self, call: Call, session: RunSession) -> CIMultiDict[str]:
        headers = {
            "Accept": self._protocol.accept,
            "Content-Type": "application/json",
            "Authorization": None if self._token is None else f"Bearer {self._token}",
            **self._protocol.headers(call, session.run_id),
            **call.request.context_headers,
        }
        if self._spec.forward_identity and call.caller is not None:
            headers |= identity_headers(call.caller)
        sent = CIMultiDict(call.request.headers)
        sent.update({name: value for name, value in headers.items() if value is not None})
        return sent

    async def _forward(
        self, response: aiohttp.ClientResponse, reader: ResponseReader, session: RunSession, idle: IdleTimeout
    ) -> Result:
        """Emit the events in a response while it arrives, and return with what it ends."""
        async for data in response.content.iter_any():
            idle.pause()  # waiting for the backend does not count against the agent
            if (result := await self._emit(reader.feed(data), session)) is not None:
                await _await_end(response)
                return result
            idle.restart()
            await asyncio.sleep(0)  # a response that is always readable must not block the event loop
        return await self._emit(reader.end(), session) or Failed(_TRUNCATED, AgentDisconnected.code)

    async def _emit(self, parts: Iterator[Part], session: RunSession) -> Result | None:
        emit = session.from_process.emit
        for part in parts:
            if isinstance(part, Result):
                return part
            if isinstance(part, Begun):
                self._begun[session.run_id] = part
                continue
            try:
                await emit(part)
            except (TypeError, ValueError) as error:
                raise ProtocolError(f"the agent process sent an invalid event: {error}") from error
        return None

    async def _request_stop(self, call: Call, session: RunSession) -> None:
        """Ask the process to stop a run, as it may not notice that the connection is closed."""
        await self._stop_begun(call, session)
        if self._cancel is not None:
            headers = {"X-Dockrion-Run-Id": session.run_id, "X-Dockrion-Agent": self._spec.name}
            headers |= session.request.context_headers
            body = msgspec.json.encode({"run_id": session.run_id})
            await _post_stop(self._cancel, body, headers | {"Content-Type": "application/json"}, session)

    async def _stop_begun(self, call: Call, session: RunSession) -> None:
        """Ask the server to stop what it has begun for a run, if it has said how."""
        if (begun := self._begun.pop(session.run_id, None)) is not None:
            await _post_stop(self._agent, begun.stop_body, self._headers(call, session), session)


async def _post_stop(
    endpoint: HttpEndpoint, body: bytes, headers: Mapping[str, str], session: RunSession
) -> None:
    run_id = session.run_id
    try:
        async with (
            asyncio.timeout(_STOP_TIMEOUT),
            endpoint.request("POST", data=body, headers=headers) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, OSError, TimeoutError, UnicodeError) as error:
        reason = loggable(error)
        log(_logger, logging.WARNING, "agent process stop request failed", run_id=run_id, reason=reason)
    else:
        if not succeeded(status):
            log(_logger, logging.WARNING, "agent process refused to stop", run_id=run_id, status=status)


def _require_identity(response: aiohttp.ClientResponse) -> None:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ProtocolError("the agent process's response is compressed, though that was not accepted")


async def _await_end(response: aiohttp.ClientResponse) -> None:
    """Wait a moment for the end of the response, so that its connection can be reused."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_END_TIMEOUT):
            await response.content.readany()


async def _ask(interruption: Interruption, session: RunSession) -> list[Any] | None:
    """Ask what the agent asks; return the answers, None if there were none in time."""
    if not interruption.questions:
        return []
    try:
        return await session.asking.ask_all(interruption.questions)
    except InputTimeout:
        return None
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"the agent's server asks a malformed question: {error}") from error


async def _error_body(response: aiohttp.ClientResponse) -> str:
    """Return the beginning of the body of a response with an error status."""
    body = b""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_ERROR_BODY_TIMEOUT):
            while len(body) < _ERROR_BODY_BYTES and (data := await response.content.readany()):
                body += data
    return body[:_ERROR_BODY_BYTES].decode("utf-8", "replace")


def _connection_failure(error: Exception) -> Failed:
    """Return the outcome of a request whose connection failed."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError | UnicodeError):
        return Failed(_UNREACHABLE, AgentDisconnected.code)
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | ConnectionError):
        return Failed(_TRUNCATED, AgentDisconnected.code)
    return Failed("the agent process does not speak HTTP", AgentProtocolError.code)
