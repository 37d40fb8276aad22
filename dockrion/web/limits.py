"""Limits per caller: concurrent requests, and the rate of requests that start work."""

from collections import Counter

from aiohttp import hdrs, web

from dockrion.auth.rate_limits import Allowance, RateLimiter
from dockrion.backends.shared_state import SharedState
from dockrion.dockfile.auth_structs import AuthSpec
from dockrion.errors import RateLimited, TooManyConnections
from dockrion.web.access import CALLER
from dockrion.web.peers import CLIENT

_EXEMPT = ("/health", "/ready")  # probes must not be refused
RATE_LIMIT_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_ALLOWANCE = web.RequestKey("allowance", Allowance)


def _owner_or_address(request: web.Request) -> str:
    caller = request[CALLER]
    return request[CLIENT] if caller is None else caller.owner


class ConnectionLimiter:
    """Limits the open requests and streams of each caller of this process.

    Args:
        limit: How many one caller may have open at a time.
        root_path: Below which the paths are found, too.
    """

    def __init__(self, limit: int, root_path: str = "") -> None:
        self._limit = limit
        self._exempt = {*_EXEMPT, *(root_path + path for path in _EXEMPT)}
        self._open: Counter[str] = Counter()

    def acquire(self, request: web.Request) -> str | None:
        """Count a request, and return the key to `release` when it is over.

        Raises:
            TooManyConnections: The caller is at its limit.
        """
        if request.path.rstrip("/") in self._exempt:
            return None
        key = _owner_or_address(request)
        if self._open[key] >= self._limit:
            raise TooManyConnections(f"more than {self._limit} requests and streams at once; end some first")
        self._open[key] += 1
        return key

    def release(self, key: str | None) -> None:
        """Stop counting a request."""
        if key is None:
            return
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]


class RequestRateLimiter:
    """Applies the Dockfile's rate limits to requests that start work.

    Args:
        auth: The Dockfile's section.
        backend: Counts requests, over all replicas.
    """

    def __init__(self, auth: AuthSpec | None, backend: SharedState) -> None:
        limits = auth.rate_limits if auth is not None else {}
        self._limits = RateLimiter(limits, backend) if limits else None

    async def count(self, request: web.Request) -> None:
        """Count a request that is about to start work.

        Raises:
            RateLimited: The caller is over its limit.
            ServiceUnavailable: The backend cannot count it now.
        """
        if self._limits is None:
            return
        caller = request[CALLER]
        allowance = await self._limits.count(
            _owner_or_address(request), () if caller is None else caller.roles
        )
        if allowance is None:
            return
        request[_ALLOWANCE] = allowance
        if allowance.exceeded:
            raise RateLimited(
                f"{allowance.limit} requests in {allowance.window} s are allowed; "
                f"try again in {allowance.reset} s",
                headers={hdrs.RETRY_AFTER: str(allowance.reset)},
            )


async def add_rate_limit_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the `RateLimit` headers (IETF draft "RateLimit header fields for HTTP", version 06)."""
    allowance = request.get(_ALLOWANCE)
    if allowance is not None:
        values = (allowance.limit, allowance.remaining, allowance.reset)
        response.headers.update(zip(RATE_LIMIT_HEADERS, map(str, values), strict=True))
