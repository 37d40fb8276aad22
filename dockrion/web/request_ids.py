"""The id of each request, which its log lines and its response have, and its caller's position in a trace."""

import os
import re

from aiohttp import web
from multidict import CIMultiDictProxy, istr

from dockrion.caller import CallerRequest, current_request, set_current_request
from dockrion.ids import REQUEST_ID_HEADER

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:/+=@-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?:(?<!^00.{53})-[!-~]{1,400})?"  # later versions than 00 may have more fields
)
_TRACESTATE_ENTRY = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"  # key
    r"=[ -+\--<>-~]{0,255}[!-+\--<>-~]"  # value
)
_MAX_TRACESTATE, _MAX_ENTRIES = 512, 32  # characters, and entries (W3C Trace Context, 3.3.1)
_HEADER, _TRACE_HEADER, _STATE_HEADER = istr(REQUEST_ID_HEADER), istr("traceparent"), istr("tracestate")
_ID_LENGTH, _NEW_AT_ONCE = 32, 256
_new_ids: list[str] = []  # made many at once: a call of the system for each would take most of the time


def identify(request: web.Request) -> None:
    """Make a request the current one, with the id it has or else a new one.

    An id that is repeated, too long or of other characters is replaced, and a malformed trace context is
    ignored (W3C Trace Context, 3.2).
    """
    headers = request.headers
    request_id = headers.get(_HEADER)
    if request_id is None or not _REQUEST_ID.fullmatch(request_id) or len(headers.getall(_HEADER)) > 1:
        request_id = _new_request_id()
    traceparent = headers.get(_TRACE_HEADER)
    if (
        traceparent is None
        or not _TRACEPARENT.fullmatch(traceparent)
        or len(headers.getall(_TRACE_HEADER)) > 1
    ):
        set_current_request(CallerRequest(request_id=request_id))
    else:
        state = _tracestate(headers)
        set_current_request(CallerRequest(traceparent, request_id=request_id, tracestate=state))


def _tracestate(headers: CIMultiDictProxy[str]) -> str | None:
    """Return what tracing systems add to the position in a trace; None if that is nothing or malformed."""
    state = ",".join(headers.getall(_STATE_HEADER, ()))
    entries = [entry for part in state.split(",") if (entry := part.strip(" \t"))]
    if len(state) > _MAX_TRACESTATE or not 0 < len(entries) <= _MAX_ENTRIES:
        return None
    return ",".join(entries) if all(map(_TRACESTATE_ENTRY.fullmatch, entries)) else None


def add_request_id(response: web.StreamResponse) -> None:
    """Add the current request's id to its response; a new one if it could not be read as a request."""
    response.headers[_HEADER] = current_request().request_id or _new_request_id()


def _new_request_id() -> str:
    if not _new_ids:
        digits = os.urandom(_NEW_AT_ONCE * _ID_LENGTH // 2).hex()
        _new_ids.extend(digits[start : start + _ID_LENGTH] for start in range(0, len(digits), _ID_LENGTH))
    return _new_ids.pop()
