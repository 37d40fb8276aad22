"""Authorization: which callers may use which route, and which runs they may read or change."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import hdrs, web

from dockrion.auth import events_tokens
from dockrion.auth.authenticator import Authenticator, invalid_credentials
from dockrion.backends import Backend
from dockrion.backends.run_log import Run
from dockrion.caller import Caller
from dockrion.dependency import Dependency
from dockrion.dockfile.auth_structs import AuthSpec, Permission
from dockrion.errors import Conflict, Forbidden, InvalidRequest, RunExists, RunNotFound, Unauthorized
from dockrion.ids import INCARNATION_HEADER, INCARNATION_PATTERN, validate_run_id
from dockrion.web.request_credentials import RequestCredentials
from dockrion.web.urls import events_url, path_without_root


class AccessRule(msgspec.Struct, frozen=True):
    """Who may use a route when the service requires authentication.

    Attributes:
        permissions: The permissions of which callers need one; empty if being authenticated is enough.
        public: No authentication is needed.
        accepts_run_token: A token for the run in the path (`?token=`) authorizes too.
        accepts_ingest_token: The token for pushing events authorizes too; see `dockrion.web.push_access`.
        checked_by_handler: The handler calls `check` itself, to respond to refused callers in its own way.
    """

    permissions: tuple[Permission, ...] = ()
    public: bool = False
    accepts_run_token: bool = False
    accepts_ingest_token: bool = False
    checked_by_handler: bool = False


PUBLIC = AccessRule(public=True)
AUTHENTICATED = AccessRule()
INVOKE = AccessRule(("invoke",))
READ_RUNS = AccessRule(("invoke", "read_logs"))
RESPOND = AccessRule(("invoke", "respond"))
READ_EVENTS = AccessRule(("invoke", "read_logs"), accepts_run_token=True)
PUSH_EVENTS = AccessRule(("invoke",), accepts_ingest_token=True, checked_by_handler=True)
VIEW_METRICS = AccessRule(("view_metrics",))
READ_DOCS = AccessRule(("read_docs",))
READ_DOCS_PAGE = AccessRule(("read_docs",), checked_by_handler=True)

CALLER = web.RequestKey[Caller | None]("caller")
EXPIRES_AT = web.RequestKey("expires_at", float)  # of the credential, in seconds since the epoch
_TOKEN_RUN = web.RequestKey("token_run", Run)  # the run that the caller's token is for
RUN_ID = web.RequestKey("run_id", str)  # for the request's log line


def path_run_id(request: web.Request) -> str:
    """Return the run id in the path, and record it for the request's log line.

    Raises:
        InvalidRequest: It is malformed.
    """
    run_id = validate_run_id(request.match_info["run_id"])
    request[RUN_ID] = run_id
    return run_id


def loggable_path(request: web.Request) -> str:
    """Return a request's path without the token of a push URL, whether there is such a route or not."""
    path, below = request.path, path_without_root(request)
    for place in ("/events/", "/input/"):
        _, _, token = below.partition(place)
        if token:
            return f"{path.removesuffix(token)}…"
    return path


def query_incarnation(request: web.Request) -> str | None:
    """Return the incarnation that a caller means of the run in the path, None for the current one.

    Raises:
        InvalidRequest: It is malformed.
    """
    text = request.query.get("incarnation")
    if text is not None and not INCARNATION_PATTERN.fullmatch(text):
        raise InvalidRequest(f"?incarnation= must be the {INCARNATION_HEADER} of an earlier response")
    return text


class AccessControl:
    """Applies the routes' access rules, and the ownership of runs, to requests.

    Args:
        auth: The Dockfile's section.
        authenticator: Authenticates callers; None if the service is open.
        backend: Holds runs and the key that signs run tokens.

    Attributes:
        rules: The access rule of each handler. A handler without a rule refuses every caller.
    """

    def __init__(self, auth: AuthSpec | None, authenticator: Authenticator | None, backend: Backend) -> None:
        self.rules: Mapping[Any, AccessRule] = {}
        self._authenticator = authenticator
        self._backend = backend
        self._credentials = RequestCredentials(auth)

    @property
    def protected(self) -> bool:
        """Whether callers have to authenticate."""
        return self._authenticator is not None

    @property
    def issuer(self) -> Dependency | None:
        """The state of the token issuer, None if none is asked."""
        return None if self._authenticator is None else self._authenticator.issuer

    async def authorize(self, request: web.Request) -> None:
        """Apply the route's access rule to a request, as `check` does."""
        if self._authenticator is None or not _has_handler(request):
            return
        rule = self.rules.get(request.match_info.handler)
        if rule is None:
            raise Forbidden("this route has no access rule")
        if not rule.checked_by_handler:
            await self.check(request, rule)

    async def check(self, request: web.Request, rule: AccessRule) -> None:
        """Apply an access rule to a request, and record its caller.

        Raises:
            Unauthorized: The credentials are missing or invalid.
            Forbidden: The caller lacks the permission.
            ServiceUnavailable: The identity provider does not respond.
        """
        if self._authenticator is None:
            return
        try:
            await self._check(request, rule, self._authenticator)
        except Unauthorized as error:
            error.headers.update(self._credentials.challenge)
            raise

    def require_permission(self, request: web.Request, permission: Permission) -> None:
        """Refuse a request, which the route's rule has let in, whose caller lacks a permission.

        Raises:
            Forbidden: It does.
        """
        caller = request[CALLER]
        if caller is not None and permission not in caller.permissions:
            raise Forbidden(f"this needs the permission {permission}, which none of your roles has")

    async def readable_run(self, request: web.Request, run_id: str | None = None) -> Run:
        """Return a run, if the caller may read it.

        Args:
            request: The caller's request.
            run_id: The run, validated; None for the one in the path.

        Raises:
            RunNotFound: There is no such run, or it belongs to another caller.
        """
        run = await self._run(request, run_id)
        caller = request[CALLER]  # None: the service is open, or a token for this very run was sent
        if caller is not None and not _may_read(caller, run):
            raise RunNotFound(run.run_id)
        return run

    async def owned_run(self, request: web.Request, run_id: str | None = None) -> Run:
        """Return a run, if the caller may change it.

        Args:
            request: The caller's request.
            run_id: As for `readable_run`.

        Raises:
            RunNotFound: There is no such run, or it belongs to another caller.
            Forbidden: It belongs to another caller, and this one may only read it.
        """
        caller, run = request[CALLER], await self.readable_run(request, run_id)
        if caller is not None and run.owner != caller.owner:
            raise Forbidden("this run belongs to another caller; your role lets you read it, not change it")
        return run

    async def answerable_run(self, request: web.Request) -> Run:
        """Return the run in the path, if the caller may answer its agent; raises as `owned_run` does."""
        caller = request[CALLER]
        if caller is not None and "respond" in caller.permissions:
            return await self._run(request)
        return await self.owned_run(request)

    async def conflict(self, request: web.Request, run_id: str) -> Conflict:
        """Return the error for a run id that is taken, which refers to the run if the caller may read it.

        Raises:
            ServiceUnavailable: The storage cannot be reached.
        """
        with suppress(RunNotFound):  # it may have expired meanwhile
            run, caller = await self._listed_run(run_id), request[CALLER]
            if caller is None or _may_read(caller, run):
                return RunExists(run_id, events_url(request, run_id))
        return Conflict(f"the run id {run_id!r} is taken; choose another")

    async def run_token(self, run: Run) -> dict[str, Any]:
        """Return the response fields with a new token for reading a run; none if the service is open."""
        if not self.protected:
            return {}
        token = events_tokens.issue(await self._backend.secret(), _signed_name(run))
        return {"events_token": token, "events_token_expires_in": events_tokens.LIFETIME_SECONDS}

    async def aclose(self) -> None:
        """Close the authenticator's connections."""
        if self._authenticator is not None:
            await self._authenticator.aclose()

    async def _run(self, request: web.Request, run_id: str | None = None) -> Run:
        """Return a run, whoever may see it; raise `RunNotFound` if there is none."""
        if run_id is None:
            run_id = path_run_id(request)
        else:
            request[RUN_ID] = run_id
        incarnation = query_incarnation(request)
        run = request.pop(_TOKEN_RUN, None) or await self._listed_run(run_id)
        if incarnation not in (None, run.incarnation):
            raise RunNotFound(run_id)
        return run

    async def _listed_run(self, run_id: str) -> Run:
        """Return a run that callers may know of."""
        run = await self._backend.get(run_id)
        if run.unlisted:
            raise RunNotFound(run_id)
        return run

    async def _check(self, request: web.Request, rule: AccessRule, authenticator: Authenticator) -> None:
        if rule.public:
            return
        if rule.accepts_run_token and "token" in request.query:
            await self._check_run_token(request)
            return
        caller = await authenticator.authenticate(self._credentials.of(request))
        if rule.permissions and caller.permissions.isdisjoint(rule.permissions):
            needed = " or ".join(rule.permissions)
            raise Forbidden(f"this needs the permission {needed}, which none of your roles has")
        request[CALLER] = caller
        if caller.expires_at is not None:
            request[EXPIRES_AT] = caller.expires_at

    async def _check_run_token(self, request: web.Request) -> None:
        run_id = validate_run_id(request.match_info["run_id"])
        secret = await self._backend.secret()
        try:
            run = await self._listed_run(run_id)
        except RunNotFound:  # unauthenticated callers must not learn which runs exist
            raise invalid_credentials() from None
        expires_at = events_tokens.expiry(secret, _signed_name(run), request.query["token"])
        if expires_at is None:
            raise invalid_credentials()
        request[EXPIRES_AT], request[_TOKEN_RUN] = expires_at, run


def owner_filter(request: web.Request) -> str | None:
    """Return whose runs the caller may list, None for everybody's."""
    caller = request[CALLER]
    return None if caller is None or _reads_all_runs(caller) else caller.owner


def _may_read(caller: Caller, run: Run) -> bool:
    return run.owner == caller.owner or _reads_all_runs(caller)


def _reads_all_runs(caller: Caller) -> bool:
    return "read_logs" in caller.permissions


def _has_handler(request: web.Request) -> bool:
    """Return whether one of our handlers will run: not without a route, nor for a CORS preflight."""
    return request.match_info.http_exception is None and request.method != hdrs.METH_OPTIONS


def _signed_name(run: Run) -> str:
    """Return what tokens for reading a run sign: a name that no later run with its id shares."""
    # Runs of an earlier version have no incarnation, and that version signs the time of their creation.
    return f"{run.run_id} {run.incarnation or run.created_at.isoformat()}"
