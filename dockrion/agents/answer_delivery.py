"""Sending the answers to an agent process's questions to it (`agent.input_url`)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from dockrion.background_tasks import BackgroundTasks
from dockrion.backoff import Backoff
from dockrion.http_client import HttpEndpoint, succeeded
from dockrion.logs import log
from dockrion.runs.open_questions import OpenQuestion
from dockrion.runs.question import InputTimeout
from dockrion.runs.session import RunSession

_logger = logging.getLogger(__name__)
_ATTEMPTS = 8
_FIRST_DELAY, _LONGEST_DELAY = 0.25, 10.0  # seconds
_REQUEST_SECONDS = 10.0
_STOP_SECONDS = 1.0
_TRANSIENT = frozenset([408, 425, 429])  # the client errors after which a request may be repeated


class AnswerDelivery:
    """Posts each answer to the agent process, again until it accepts one or refuses it for good.

    A process may get the same answer twice, and tells by its `request_id`.

    Args:
        url: Where it takes answers.
        agent: The agent's name.
        connect_timeout: Seconds to connect.
    """

    def __init__(self, url: str, agent: str, connect_timeout: float) -> None:
        self._agent = agent
        self._endpoint = HttpEndpoint(url, connect_timeout)

    @asynccontextmanager
    async def running(self, session: RunSession) -> AsyncIterator[None]:
        """Deliver the answers to a run's questions that arrive in this context."""
        tasks = BackgroundTasks()
        questions = session.from_process.questions
        questions.on_open = lambda question: tasks.start(self._deliver(session, question))
        try:
            yield
        finally:
            questions.on_open = None
            await tasks.cancel(_STOP_SECONDS)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._endpoint.aclose()

    async def _deliver(self, session: RunSession, question: OpenQuestion) -> None:
        try:
            value = await asyncio.shield(question.answer)
        except InputTimeout:
            return
        run_id, request_id = session.run_id, question.shown.request_id
        body = {"run_id": run_id, "request_id": request_id, "value": value}
        backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        attempts = 0
        while failure := await self._post(session, body):
            attempts += 1
            if not failure.transient or attempts == _ATTEMPTS:
                log(
                    _logger,
                    logging.WARNING,
                    "answer not delivered to agent.input_url",
                    run_id=run_id,
                    request_id=request_id,
                    reason=failure.reason,
                )
                return
            await asyncio.sleep(backoff.next())

    async def _post(self, session: RunSession, body: dict[str, Any]) -> "_Failure | None":
        headers = {"X-Dockrion-Run-Id": session.run_id, "X-Dockrion-Agent": self._agent}
        headers |= session.request.context_headers
        try:
            async with (
                asyncio.timeout(_REQUEST_SECONDS),
                self._endpoint.request("POST", json=body, headers=headers) as response,
            ):
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, UnicodeError) as error:
            return _Failure(type(error).__name__, transient=True)
        if succeeded(status):
            return None
        refused = 400 <= status < 500 and status not in _TRANSIENT  # noqa: PLR2004  RFC 9110, 15.5
        return _Failure(f"status {status}", transient=not refused)


class _Failure(NamedTuple):
    """Why the process did not accept an answer, and whether it may later."""

    reason: str
    transient: bool
