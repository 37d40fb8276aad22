"""How much one caller may have open at a time."""

from collections import Counter

from aiohttp import web

from dockrion.errors import TooManyConnections
from dockrion.web.access import CALLER

_UNIX = "unix"
_ALWAYS_ANSWERED = ("/health", "/ready")  # who asks whether the service lives is not to be refused


def peer(request: web.Request) -> str:
    """Return the address a request came from; everybody on a unix socket is one caller."""
    return request.remote or _UNIX


class Connections:
    """Counts the requests at work, streams among them, of each caller of this process.

    Args:
        most: How many one caller may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def enter(self, request: web.Request) -> str | None:
        """Count a request, and return what `leave` has to be told when it is over.

        Raises:
            TooManyConnections: Its caller has as many as it may.
        """
        if request.path in _ALWAYS_ANSWERED:
            return None
        caller = request[CALLER]
        who = peer(request) if caller is None else caller.owner
        if self._open[who] >= self._most:
            raise TooManyConnections(f"more than {self._most} requests and streams at a time; end some first")
        self._open[who] += 1
        return who

    def leave(self, who: str | None) -> None:
        """Count a request no more."""
        if who is None:
            return
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]
