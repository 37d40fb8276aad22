"""The sidecar mode: an agent in another process, invoked over HTTP (`agent.url`)."""

import asyncio
import logging
from contextlib import nullcontext
from typing import Any

import aiohttp

from dockrion.agents.answer_delivery import AnswerDelivery
from dockrion.agents.reconnecting import UNREACHABLE, connection_failure
from dockrion.agents.remote_run import STOP_TIMEOUT, Abandoned, RemoteRun, Server
from dockrion.agents.responses import ProtocolError
from dockrion.agents.servers import protocol_of
from dockrion.dockfile import Dockfile
from dockrion.errors import AgentProtocolError, InvalidRequest, ServiceUnavailable
from dockrion.http_client import HttpEndpoint, loggable, succeeded
from dockrion.logs import log
from dockrion.runs.agent import Call
from dockrion.runs.outcome import Failed
from dockrion.runs.session import RunSession

_logger = logging.getLogger(__name__)
_CHECK_TIMEOUT = 2.0


class RemoteAgent:
    """Posts each payload to an agent process, and forwards its response while it arrives.

    Requests are never retried: the process may have acted on one that failed. What it has begun is followed
    over further connections, if its protocol can.

    Args:
        dockfile: Names the process and its time limits.
        token: The value of `agent.token_env`, sent with each payload; None to send none.
    """

    keeps_threads = False
    threads_in_memory = False

    def __init__(self, dockfile: Dockfile, token: str | None = None) -> None:
        spec = dockfile.agent
        protocol = protocol_of(dockfile)
        self.input_schema: dict[str, Any] | None = protocol.input_schema
        self._server = Server(
            spec,
            protocol,
            endpoint=HttpEndpoint(spec.target, spec.connect_timeout),
            cancel=HttpEndpoint(spec.cancel_url, STOP_TIMEOUT) if spec.cancel_url else None,
            token=token,
            push_timeout=dockfile.streaming.ingest.idle_timeout,
        )
        self._answers: AnswerDelivery | None = None
        if spec.input_url:
            self._answers = AnswerDelivery(spec.input_url, spec.name, spec.connect_timeout)
        self._health = HttpEndpoint(spec.health_url, spec.connect_timeout) if spec.health_url else None

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:  # noqa: ARG002
        run = RemoteRun(self._server, call, session)
        try:
            async with nullcontext() if self._answers is None else self._answers.running(session):
                return await run.invoke()
        except asyncio.CancelledError:
            if not session.ended_elsewhere:  # else the process itself has ended the run
                await run.request_stop()
            raise
        except Abandoned as abandoned:
            await run.request_stop()
            return abandoned.outcome
        except ProtocolError as error:
            await run.stop_begun()
            return Failed(str(error), AgentProtocolError.code)
        except RuntimeError:  # nobody can answer a question
            await run.stop_begun()
            raise
        except InvalidRequest as error:
            return Failed(error.message, error.code, error.details)
        except (aiohttp.ClientError, ConnectionError, UnicodeError) as error:
            reason = loggable(error)
            log(_logger, logging.WARNING, "agent request failed", run_id=session.run_id, reason=reason)
            return connection_failure(error)

    async def check(self) -> None:
        """Return if the process's health URL reports success or, without one, accepts connections.

        Raises:
            ServiceUnavailable: It does not.
        """
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                if self._health is None:
                    await self._server.endpoint.try_connect()
                    return
                async with self._health.request("GET") as response:
                    status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise ServiceUnavailable(UNREACHABLE) from None
        if not succeeded(status):
            raise ServiceUnavailable(f"the agent process is not ready: status {status}")

    async def aclose(self) -> None:
        for endpoint in (self._server.endpoint, self._server.cancel, self._health, self._answers):
            if endpoint is not None:
                await endpoint.aclose()
