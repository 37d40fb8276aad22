"""An agent in a process of its own, asked over HTTP: the sidecar mode."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import aiohttp
import msgspec

from dockrion.agents.external import Silence, until_silent
from dockrion.agents.identity_headers import identity
from dockrion.agents.response_readers import Garbled, Part, is_known, reader
from dockrion.dockfile import Dockfile
from dockrion.errors import AgentDisconnected, AgentFailed, AgentProtocolError, AgentTimedOut
from dockrion.http_client import HttpEndpoint, succeeded
from dockrion.logs import log
from dockrion.runs.agent import Call
from dockrion.runs.context import StreamContext
from dockrion.runs.outcome import Completed, Failed, Outcome

_logger = logging.getLogger(__name__)
_ACCEPT = "text/event-stream, application/x-ndjson, application/json"
_REFUSAL_BYTES = 4096
_REFUSAL_SECONDS = 2.0
_STOP_SECONDS = 3.0
_END_SECONDS = 0.02
_CUT = "the agent process closed the connection in the middle of its answer"
_ACCEPTED = 202  # RFC 9110, 15.3.3


class _Refusal(Exception):
    """The agent process answered with a status that is no success."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"the agent process answered with status {status}")
        self.outcome = Failed(str(self), AgentFailed.code, {"status": status, "body": body})


class _GivenUp(Exception):
    """The agent process is no longer waited for."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class RemoteAgent:
    """Posts each payload to an agent process, and reads what it answers while it comes.

    Nothing is asked twice: a request that failed may have been worked on.

    Args:
        dockfile: It names the process, and how long it may take.
    """

    def __init__(self, dockfile: Dockfile) -> None:
        self._spec = spec = dockfile.agent
        self._ingest = dockfile.streaming.ingest
        self._agent = HttpEndpoint(spec.target, spec.connect_timeout)
        self._cancel = HttpEndpoint(spec.cancel_url, _STOP_SECONDS) if spec.cancel_url else None
        self._health = HttpEndpoint(spec.health_url, spec.connect_timeout) if spec.health_url else None

    async def run(self, call: Call, context: StreamContext, *, streaming: bool) -> Any:  # noqa: ARG002
        try:
            return await self._ask_in_time(call, context)
        except asyncio.CancelledError:
            if not context.ended_elsewhere:  # the process has ended the run itself
                await self._tell_stopped(context.run_id)
            raise
        except _GivenUp as given_up:
            await self._tell_stopped(context.run_id)
            return given_up.outcome
        except _Refusal as refusal:
            return refusal.outcome
        except Garbled as error:
            return Failed(str(error), AgentProtocolError.code)
        except (aiohttp.ClientError, ConnectionError, UnicodeError) as error:
            log(_logger, logging.WARNING, "agent process fails", run_id=context.run_id, reason=repr(error))
            return _of_trouble(error)

    async def check(self) -> None:
        if self._health is not None:
            await self._health.check(ask=True)
        else:
            await self._agent.check(ask=False)

    async def aclose(self) -> None:
        for peer in (self._agent, self._cancel, self._health):
            if peer is not None:
                await peer.aclose()

    async def _ask_in_time(self, call: Call, context: StreamContext) -> Outcome:
        total = asyncio.timeout(self._spec.total_timeout)
        silence = Silence(context, self._spec.read_timeout)
        try:
            async with total, silence.limited():
                return await self._ask(call, context, silence, total)
        except TimeoutError:
            if silence.too_long:
                message = f"the agent process has sent nothing for {silence.seconds:g} s"
            elif total.expired():
                message = f"the agent process has not ended its answer within {self._spec.total_timeout} s"
            else:
                raise
            raise _GivenUp(Failed(message, AgentTimedOut.code)) from None

    async def _ask(
        self, call: Call, context: StreamContext, silence: Silence, total: asyncio.Timeout
    ) -> Outcome:
        body = BytesIO(msgspec.json.encode(call.payload))  # which is sent in pieces
        async with self._agent.request("POST", data=body, headers=self._headers(call, context)) as answer:
            try:
                if not succeeded(answer.status):
                    silence.pause()
                    raise await _refusal(answer)
                if answer.status == _ACCEPTED and self._ingest.enabled and call.events_url is not None:
                    silence.pause()
                    total.reschedule(None)  # the answer is there; now the run is fed
                    raise _GivenUp(await until_silent(context, self._ingest.idle_timeout))
                return await _read(answer, context, silence)
            finally:
                answer.close()  # what has not been read is wanted by nobody

    def _headers(self, call: Call, context: StreamContext) -> dict[str, str]:
        headers = {
            "Accept": _ACCEPT,
            "Content-Type": "application/json",
            "X-Dockrion-Run-Id": context.run_id,
            "X-Dockrion-Agent": self._spec.name,
            "X-Dockrion-Events-Url": call.events_url,
            "traceparent": call.traceparent,
        }
        if self._spec.forward_identity and call.caller is not None:
            headers |= identity(call.caller)
        return {name: value for name, value in headers.items() if value is not None}

    async def _tell_stopped(self, run_id: str) -> None:
        """Tell a process that may not notice that its caller has left."""
        if self._cancel is None:
            return
        headers = {"X-Dockrion-Run-Id": run_id, "X-Dockrion-Agent": self._spec.name}
        try:
            async with (
                asyncio.timeout(_STOP_SECONDS),
                self._cancel.request("POST", json={"run_id": run_id}, headers=headers) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError, UnicodeError) as error:
            log(_logger, logging.WARNING, "agent process not told to stop", run_id=run_id, error=error)
        else:
            if not succeeded(status):
                log(_logger, logging.WARNING, "agent process refuses to stop", run_id=run_id, status=status)


def _of_trouble(error: Exception) -> Failed:
    """Return the outcome of a connection that failed."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError | UnicodeError):
        return Failed("the agent process cannot be reached", AgentDisconnected.code)
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | ConnectionError):
        return Failed(_CUT, AgentDisconnected.code)
    return Failed("the agent process does not answer in HTTP", AgentProtocolError.code)


async def _read(answer: aiohttp.ClientResponse, context: StreamContext, silence: Silence) -> Outcome:
    """Emit what an answer says while it comes, and return how it ends."""
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Garbled("the agent process's answer is compressed, though that was not accepted")
    parts = reader(answer.content_type) if is_known(answer.content_type) else None
    async for data in answer.content.iter_any():
        silence.pause()  # it is not the agent's fault if events cannot be stored
        parts = parts or reader(answer.content_type)
        if (result := await _emit(parts.feed(data), context)) is not None:
            await _end_of(answer)
            return result
        silence.listen()
        await asyncio.sleep(0)  # an answer that never makes us wait must not hold the event loop
    if parts is None:
        return Completed(b"null")
    return await _emit(parts.end(), context) or Failed(_CUT, AgentDisconnected.code)


async def _end_of(answer: aiohttp.ClientResponse) -> None:
    """Wait a moment for the end of an answer that has said all: the connection can be used again then."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_END_SECONDS):
            await answer.content.readany()


async def _emit(parts: Iterator[Part], context: StreamContext) -> Outcome | None:
    for part in parts:
        if isinstance(part, Outcome):
            return part
        try:
            await context.emit_event(part)
        except (TypeError, ValueError) as error:
            raise Garbled(f"the agent process sent a wrong event: {error}") from error
    return None


async def _refusal(answer: aiohttp.ClientResponse) -> _Refusal:
    body = b""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_REFUSAL_SECONDS):
            while len(body) < _REFUSAL_BYTES and (data := await answer.content.readany()):
                body += data
    return _Refusal(answer.status, body[:_REFUSAL_BYTES].decode("utf-8", "replace"))
