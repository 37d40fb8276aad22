"""Rate limits, as requests meet them."""

from aiohttp import hdrs, web

from dockrion.auth.rate_limits import Allowance, RateLimiter
from dockrion.backends.shared_state import SharedState
from dockrion.dockfile.safety_structs import AuthSpec
from dockrion.errors import RateLimited
from dockrion.web.access import CALLER
from dockrion.web.limits import peer

_ALLOWANCE = web.RequestKey("allowance", Allowance)


class Rates:
    """Holds requests that start work to the Dockfile's rate limits.

    Args:
        auth: The Dockfile's section.
        backend: Where they are counted.
    """

    def __init__(self, auth: AuthSpec | None, backend: SharedState) -> None:
        limits = auth.rate_limits if auth is not None else {}
        self._limits = RateLimiter(limits, backend) if limits else None

    async def count(self, request: web.Request) -> None:
        """Count a request that is about to start work.

        Raises:
            RateLimited: Its caller has started too much.
            ServiceUnavailable: It cannot be counted now.
        """
        if self._limits is None:
            return
        caller = request[CALLER]
        who, roles = (peer(request), ()) if caller is None else (caller.owner, caller.roles)
        allowance = await self._limits.count(who, roles)
        if allowance is None:
            return
        request[_ALLOWANCE] = allowance
        if allowance.exceeded:
            raise RateLimited(
                f"{allowance.limit} requests in {allowance.window} s are allowed; "
                f"try again in {allowance.reset} s",
                headers={hdrs.RETRY_AFTER: str(allowance.reset)},
            )


async def tell_allowance(request: web.Request, response: web.StreamResponse) -> None:
    """Say what is left to the caller (IETF draft "RateLimit header fields for HTTP", version 06)."""
    allowance = request.get(_ALLOWANCE)
    if allowance is not None:
        response.headers["RateLimit-Limit"] = str(allowance.limit)
        response.headers["RateLimit-Remaining"] = str(allowance.remaining)
        response.headers["RateLimit-Reset"] = str(allowance.reset)
