"""Lost connections to agents' servers: what they mean, and when the next one is tried."""

import asyncio
import logging

import aiohttp

from dockrion.agents.responses import Lost
from dockrion.backoff import Backoff
from dockrion.errors import AgentDisconnected, AgentProtocolError
from dockrion.logs import log
from dockrion.runs.outcome import Failed

_logger = logging.getLogger(__name__)
UNREACHABLE = "the agent process cannot be reached"
_TRUNCATED = "the agent process closed the connection in the middle of its response"
MAX_ATTEMPTS = 10
FIRST_DELAY, LONGEST_DELAY = 0.05, 10.0  # seconds; all attempts together take half a minute
_JITTER = 0.5  # spreads the runs that lost a server at the same time
_LASTING = 10.0  # seconds of a connection that was no attempt in vain


class Reconnecting:
    """Decides when a run connects again to the server that works for it.

    It gives up after so many attempts without news. A connection that has lasted, and a server that says
    that it is still at work, are no such attempts: the run's time limits hold for them.

    Args:
        run_id: The run.

    Attributes:
        has_news: Whether an event has come since the last attempt.
    """

    def __init__(self, run_id: str) -> None:
        self.has_news = False
        self._run_id = run_id
        self._backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, jitter=_JITTER)
        self._attempts = 0
        self._connected_at = 0.0

    def connects(self) -> None:
        """Begin to measure how long a connection lasts."""
        self._connected_at = asyncio.get_running_loop().time()

    async def wait(self, lost: Lost) -> bool:
        """Wait until the next connection is due; return whether there is one."""
        lasted = asyncio.get_running_loop().time() - self._connected_at > _LASTING
        if self.has_news or lasted:
            self._backoff.reset()
            self._attempts = 0
        self.has_news = False
        if not lost.alive:
            self._attempts += 1
            reason, attempt = lost.outcome.error, self._attempts
            log(
                _logger,
                logging.WARNING,
                "agent response lost",
                run_id=self._run_id,
                reason=reason,
                attempt=attempt,
            )
            if attempt > MAX_ATTEMPTS:
                return False
        await asyncio.sleep(self._backoff.next())
        return True


def connection_failure(error: Exception) -> Failed:
    """Return the outcome of a request whose connection failed."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ServerTimeoutError | UnicodeError):
        return Failed(UNREACHABLE, AgentDisconnected.code)
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | ConnectionError):
        return Failed(_TRUNCATED, AgentDisconnected.code)
    return Failed("the agent process does not speak HTTP", AgentProtocolError.code)
