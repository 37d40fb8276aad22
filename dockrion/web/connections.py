"""How much one caller may have open at a time."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from dockrion.errors import TooManyConnections

_UNIX = "unix"


def peer(request: web.Request) -> str:
    """Return the address a request came from; everybody on a unix socket is one caller."""
    return request.remote or _UNIX


class Connections:
    """Counts the requests at work, streams among them, of each caller of this process.

    Args:
        most: How many one caller may have.
        caller: Tells whose a request is.
    """

    def __init__(self, most: int, caller: Callable[[web.Request], str] = peer) -> None:
        self._most = most
        self._caller = caller
        self._open: Counter[str] = Counter()

    @contextmanager
    def counted(self, request: web.Request) -> Iterator[None]:
        """Count a request while it is at work.

        Raises:
            TooManyConnections: Its caller has as many as it may.
        """
        caller = self._caller(request)
        if self._open[caller] >= self._most:
            raise TooManyConnections(f"more than {self._most} requests and streams at a time; end some first")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
