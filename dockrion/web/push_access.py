"""Who may push events: holders of the Dockfile's token or of a run's own URL, and unix-socket peers.

That a TCP peer is on this machine proves nothing: a proxy here makes everybody such a peer, and need not
say so in its headers. A unix socket's peers are those to whom the file's permissions open it.
"""

import hmac
import time

from aiohttp import hdrs, web

from dockrion.auth import push_tokens
from dockrion.auth.authenticator import invalid_credentials
from dockrion.backends.shared_state import SharedState
from dockrion.errors import Forbidden, Unauthorized
from dockrion.web.access import path_run_id
from dockrion.web.request_credentials import bearer_token

_KEY_SECONDS = 60.0  # how long the key is remembered, so that a push needs no command to the storage
# What a proxy adds that forwards for others.
_FORWARDING = (hdrs.ORIGIN, hdrs.FORWARDED, "Via", "X-Real-IP")
_FORWARDED = "x-forwarded-"


class PushAccess:
    """Decides which requests may push events, and makes the tokens in the URLs of runs.

    Args:
        backend: Holds the key that signs those tokens.
        token: The token of `streaming.ingest.token_env`, None if there is none.
        unix_proxy: Whether peers of a unix socket are proxies, so that anybody may be behind them.
    """

    def __init__(self, backend: SharedState, token: str | None, *, unix_proxy: bool = False) -> None:
        self._backend = backend
        self._unix_proxy = unix_proxy
        self._token = None if token is None else token.encode("utf-8", "surrogateescape")
        self._key = b""
        self._key_expires_at = 0.0

    async def new_url_token(self, run_id: str, incarnation: str) -> str:
        """Return a token for the URL at which an agent process pushes the events of its run.

        Raises:
            ServiceUnavailable: The storage cannot be reached.
        """
        return push_tokens.issue(await self._signing_key(), run_id, incarnation)

    async def incarnation(self, request: web.Request) -> str:
        """Return the incarnation of the run that the token in the path is for.

        Raises:
            InvalidRequest: The run id is malformed.
            Unauthorized: The token is not valid for the run.
            ServiceUnavailable: The storage cannot be reached.
        """
        run_id, token = path_run_id(request), request.match_info["push_token"]
        found = push_tokens.incarnation(await self._signing_key(), run_id, token)
        if found is None:
            raise invalid_credentials()
        return found

    def has_token(self, request: web.Request) -> bool:
        """Return whether a request carries the Dockfile's token."""
        token = bearer_token(request).encode("utf-8", "surrogateescape")
        return bool(self._token) and hmac.compare_digest(token, self._token or b"")

    def require_producer(self, request: web.Request) -> None:
        """Refuse a peer that may not push events, where callers do not authenticate.

        Raises:
            Unauthorized: The Dockfile has a token, and the request lacks it.
            Forbidden: The Dockfile has none, and the request did not come over a unix socket without a proxy.
        """
        if self._token is not None:
            if not self.has_token(request):
                raise Unauthorized("send the token for events: Authorization: Bearer …")
        elif self._unix_proxy or not _is_unix_peer(request):
            raise Forbidden(
                "over TCP and through proxies this needs a token, see streaming.ingest.token_env; "
                "an agent process pushes to the X-Dockrion-Events-Url of its run"
            )

    async def _signing_key(self) -> bytes:
        if time.monotonic() >= self._key_expires_at:
            self._key = await self._backend.secret()
            self._key_expires_at = time.monotonic() + _KEY_SECONDS
        return self._key


def _is_unix_peer(request: web.Request) -> bool:
    """Return whether a request came over a unix socket, and not through a proxy that says so."""
    transport = request.transport
    if transport is None or isinstance(transport.get_extra_info("sockname"), tuple):
        return False
    headers = request.headers
    forwarded = any(name.lower().startswith(_FORWARDED) for name in headers)
    return not forwarded and not any(name in headers for name in _FORWARDING)
