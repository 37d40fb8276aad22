"""Who gets in where: each route has a rule, and each request is held to its route's."""

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import hdrs, web

from dockrion.auth import events_tokens
from dockrion.auth.authenticator import Authenticator, invalid_credentials
from dockrion.backends import Backend
from dockrion.backends.run_log import Run
from dockrion.caller import Caller
from dockrion.dockfile.safety_structs import ApiKeysSpec, AuthSpec, Permission
from dockrion.errors import Forbidden, RunNotFound, Unauthorized
from dockrion.ids import validate_run_id

_BEARER = "bearer"


class Rule(msgspec.Struct, frozen=True):
    """Who may ask something, where callers have to prove who they are.

    Attributes:
        permission: What they need, None for nothing more than to be known.
        asks_nobody: Everybody may.
        takes_run_token: A token for the run of the path will do (`?token=`).
        takes_producers: So will the token for pushing events.
        handler_refuses: The handler itself asks `hold`, since it has more to say to those it refuses.
    """

    permission: Permission | None = None
    asks_nobody: bool = False
    takes_run_token: bool = False
    takes_producers: bool = False
    handler_refuses: bool = False


OPEN = Rule(asks_nobody=True)
KNOWN = Rule()
INVOKE = Rule("invoke")
READ_RUN = Rule("invoke", takes_run_token=True)
PRODUCE = Rule("invoke", takes_producers=True)
VIEW_METRICS = Rule("view_metrics")
READ_DOCS = Rule("read_docs")
READ_DOCS_PAGE = Rule("read_docs", handler_refuses=True)

CALLER = web.RequestKey[Caller | None]("caller")
EXPIRES_AT = web.RequestKey("expires_at", float)  # of what opened the door, in seconds since the epoch


class Access:
    """Holds requests to their routes' rules.

    Args:
        auth: The Dockfile's section.
        authenticator: Tells who a caller is; None where nobody has to say.
        backend: Keeps the key that tokens for runs are signed with.
        ingest_token: What producers of events send, None for none.

    Attributes:
        rules: Who may ask each handler. One that is not there answers nobody.
    """

    def __init__(
        self,
        auth: AuthSpec | None,
        authenticator: Authenticator | None,
        backend: Backend,
        ingest_token: str | None,
    ) -> None:
        self.rules: Mapping[Any, Rule] = {}
        self._authenticator = authenticator
        self._backend = backend
        self._ingest_token = None if ingest_token is None else ingest_token.encode("utf-8", "surrogateescape")
        # Only keys come in a header of their own; tokens are bearer tokens (RFC 6750, 2.1).
        self._keys = auth.api_keys if auth is not None and auth.mode == "api_key" else None

    @property
    def protected(self) -> bool:
        """Whether callers have to prove who they are."""
        return self._authenticator is not None

    async def admit(self, request: web.Request) -> None:
        """Return if the request may be handled, knowing its caller from now on.

        Raises:
            Unauthorized: Nothing proves who the caller is.
            Forbidden: They may not.
            ServiceUnavailable: Whoever has to be asked does not answer.
        """
        if self._authenticator is None or not _is_handled(request):
            return
        rule = self.rules.get(request.match_info.handler)
        if rule is None:
            raise Forbidden("nobody may ask this")
        if not rule.handler_refuses:
            await self.hold(request, rule)

    async def hold(self, request: web.Request, rule: Rule) -> None:
        """Return if a rule lets the request pass, knowing its caller from now on.

        Raises:
            Unauthorized: Nothing proves who the caller is.
            Forbidden: They may not.
            ServiceUnavailable: Whoever has to be asked does not answer.
        """
        if self._authenticator is None:
            return
        try:
            await self._hold(request, rule, self._authenticator)
        except Unauthorized as error:
            if self._keys is not None:
                error.headers[hdrs.WWW_AUTHENTICATE] = _challenge(self._keys)
            raise

    @property
    def knows_producers(self) -> bool:
        """Whether there is a token for pushing events."""
        return self._ingest_token is not None

    def is_producer(self, request: web.Request) -> bool:
        """Tell whether the token for pushing events was sent."""
        sent = _bearer(request).encode("utf-8", "surrogateescape")
        return bool(self._ingest_token) and hmac.compare_digest(sent, self._ingest_token or b"")

    async def run_token(self, run: Run) -> dict[str, Any]:
        """Return what an answer says of a new token for reading a run; nothing where none is needed."""
        if not self.protected:
            return {}
        token = events_tokens.issue(await self._backend.secret(), _once_named(run))
        return {"events_token": token, "events_token_expires_in": events_tokens.LIFETIME_SECONDS}

    async def aclose(self) -> None:
        """Release everything."""
        if self._authenticator is not None:
            await self._authenticator.aclose()

    async def _hold(self, request: web.Request, rule: Rule, authenticator: Authenticator) -> None:
        if rule.asks_nobody or (rule.takes_producers and self.is_producer(request)):
            return
        if rule.takes_run_token and "token" in request.query:
            request[EXPIRES_AT] = await self._expiry(request)
            return
        caller = await authenticator.authenticate(self._credential(request))
        if rule.permission is not None and rule.permission not in caller.permissions:
            raise Forbidden(f"this needs the permission {rule.permission}, which none of your roles has")
        request[CALLER] = caller
        if caller.expires_at is not None:
            request[EXPIRES_AT] = caller.expires_at

    async def _expiry(self, request: web.Request) -> float:
        run_id = validate_run_id(request.match_info["run_id"])
        secret = await self._backend.secret()
        try:
            run = await self._backend.get(run_id)
        except RunNotFound:  # strangers are not to learn which runs there are
            raise invalid_credentials() from None
        until = events_tokens.expiry(secret, _once_named(run), request.query["token"])
        if until is None:
            raise invalid_credentials()
        return until

    def _credential(self, request: web.Request) -> str:
        """Return the caller's key or token.

        Raises:
            Unauthorized: There is none.
        """
        sent = "" if self._keys is None else _only(request, self._keys.header)
        if not sent and (self._keys is None or self._keys.allow_bearer):
            sent = _bearer(request)
        if not sent:
            raise invalid_credentials()
        return sent


def _is_handled(request: web.Request) -> bool:
    """Tell whether a handler of ours would answer: not what has no route, nor a CORS preflight."""
    return request.match_info.http_exception is None and request.method != hdrs.METH_OPTIONS


def _once_named(run: Run) -> str:
    """Return a name that no other run will ever have: an id is free again once its run is forgotten."""
    return f"{run.run_id} {run.created_at.isoformat()}"


def _bearer(request: web.Request) -> str:
    scheme, _, token = _only(request, hdrs.AUTHORIZATION).partition(" ")
    return token.strip(" ") if scheme.lower() == _BEARER else ""


def _only(request: web.Request, name: str) -> str:
    """Return what a header holds, nothing if it is not there.

    Raises:
        Unauthorized: It was sent more than once: a proxy on the way may have gone by another one.
    """
    first, *others = request.headers.getall(name, [""])
    if others:
        raise invalid_credentials()
    return first


def _challenge(keys: ApiKeysSpec) -> str:
    own = f'ApiKey header="{keys.header}"'
    return f"Bearer, {own}" if keys.allow_bearer else own
