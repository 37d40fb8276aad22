"""Who called, and with what request."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from dockrion.ids import REQUEST_ID_HEADER


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller.

    Attributes:
        user_id: The subject of the token, or the name of the API key.
        name: The caller's name, or None.
        email: The caller's e-mail address, or None.
        roles: The caller's roles.
        permissions: What the caller may do.
        scopes: The scopes of the token.
        tenant_id: The caller's tenant, or None.
        expires_at: When the credentials expire, in seconds since the epoch; None for never.
    """

    user_id: str
    name: str | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()
    scopes: tuple[str, ...] = ()
    tenant_id: str | None = None
    expires_at: float | None = None

    @property
    def owner(self) -> str:
        """The owner recorded with the caller's runs; JSON, so that no two callers have the same."""
        return msgspec.json.encode([self.tenant_id, self.user_id]).decode()

    @staticmethod
    def user_id_of(owner: str) -> str | None:
        """Return the `user_id` of an owner, None if an earlier version of this service wrote it otherwise."""
        try:
            _, user_id = msgspec.json.decode(owner, type=tuple[str | None, str])
        except msgspec.DecodeError:
            return None
        return user_id


class CallerRequest(msgspec.Struct, frozen=True):
    """What an agent may know of the request that started its run.

    Attributes:
        traceparent: The position in a trace (W3C Trace Context) of the caller or, with tracing, of the span
            that this service made; None without one.
        headers: Those of the headers named in `agent.forward_headers` that it had. A mapping that ignores
            the case of names.
        request_id: The request's id in the log and in its response, None outside a request.
        tracestate: What tracing systems add to the position (W3C Trace Context, 3.3), or None.
    """

    traceparent: str | None = None
    headers: Mapping[str, str] = CIMultiDictProxy(CIMultiDict())
    request_id: str | None = None
    tracestate: str | None = None

    @property
    def context_headers(self) -> dict[str, str]:
        """The headers with which other services' logs and traces continue those of this request."""
        headers = {
            "traceparent": self.traceparent,
            "tracestate": self.tracestate,
            REQUEST_ID_HEADER: self.request_id,
        }
        return {name: value for name, value in headers.items() if value is not None}

    @classmethod
    def with_headers(cls, headers: Mapping[str, str] | None) -> "CallerRequest":
        """Return a request with these headers, for tests of agents."""
        return cls(headers=CIMultiDictProxy(CIMultiDict(headers or {})))


NO_REQUEST = CallerRequest()
_current: ContextVar[CallerRequest] = ContextVar("dockrion_request", default=NO_REQUEST)


def current_request() -> CallerRequest:
    """Return the request that this code works for, `NO_REQUEST` if there is none."""
    return _current.get()


@contextmanager
def working_for(request: CallerRequest) -> Iterator[None]:
    """Make a request the current one in this block."""
    token = _current.set(request)
    try:
        yield
    finally:
        _current.reset(token)


def set_current_request(request: CallerRequest) -> None:
    """Make a request the current one of this task, and of all tasks and threads that it starts."""
    _current.set(request)
