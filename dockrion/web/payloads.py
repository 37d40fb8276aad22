"""What callers send: bodies and query parameters, none of it to be trusted."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import hdrs, web
from yarl import URL

from dockrion.agents import runnable_config
from dockrion.errors import InvalidRequest, PolicyViolation, UnsupportedMediaType
from dockrion.events import MAX_SEQUENCE
from dockrion.ids import validate_run_id
from dockrion.json_schema import Violation
from dockrion.runs.agent import Call
from dockrion.threads import in_thread
from dockrion.web.access import CALLER
from dockrion.web.service import RUN_ID, SERVICE

_CONFIG = "_config"
MAX_REASON = 1000
_SOON_READ_BYTES = 128 * 1024  # a larger body is read for phrasings beside the event loop
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,400})?")
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_CONTAINERS = (list, dict)
_BOOLEANS = {"true": True, "false": False}


async def call(request: web.Request) -> Call:
    """Return what the request wants of the agent, valid.

    Raises:
        UnsupportedMediaType: The body says that it is something else than JSON.
        InvalidRequest: It is empty, malformed, or breaks the schema.
        PolicyViolation: It has a phrasing that is refused.
    """
    return await checked_call(request, *await json(request))


async def checked_call(request: web.Request, value: Any, size: int) -> Call:
    """Return what a payload wants of the agent, valid.

    Args:
        request: What it came with.
        value: The payload.
        size: How many bytes it had as JSON.

    Raises:
        InvalidRequest: It breaks the schema.
        PolicyViolation: It has a phrasing that is refused.
    """
    service = request.app[SERVICE]
    if service.phrasings is not None:
        await _refuse_phrasings(service.phrasings, value, size)
    config = None
    resume: Any = msgspec.UNSET
    if service.dockfile.agent.takes_config and isinstance(value, dict) and _CONFIG in value:
        config = _config(value.pop(_CONFIG), allowed=service.dockfile.arguments.allow_request_config)
        resume = _resume(value, config, service.dockfile.io_schema.input)
    schema = service.input_schema
    if resume is msgspec.UNSET and schema is not None and (violations := schema.violations(value, size)):
        raise InvalidRequest("the body does not match io_schema.input", details=violations)
    return Call(value, config, resume, _traceparent(request), caller=request[CALLER])


async def _refuse_phrasings(found: Callable[[Any], list[Violation]], value: Any, size: int) -> None:
    if size > _SOON_READ_BYTES:
        violations = await in_thread(lambda: found(value), "dockrion-phrasings")
    else:
        violations = found(value)
    if violations:
        raise PolicyViolation("the body has a phrasing that is refused here", details=violations)


def _traceparent(request: web.Request) -> str | None:
    """Return the caller's place in a trace; a malformed one is to be ignored (W3C Trace Context, 3.2)."""
    sent = request.headers.get("traceparent")
    return sent if sent is not None and _TRACEPARENT.fullmatch(sent) else None


def _config(value: Any, *, allowed: bool) -> dict[str, Any]:
    if not allowed:
        raise InvalidRequest(f"this service takes no {_CONFIG}; see arguments.allow_request_config")
    try:
        return runnable_config.checked(value)
    except ValueError as error:
        raise InvalidRequest(f"{_CONFIG} is no config of a graph: {error}") from None


def _resume(value: dict[str, Any], config: dict[str, Any], schema: dict[str, Any] | None) -> Any:
    """Return what an interrupted thread is told, if the body is that and no payload."""
    an_input = "resume" in (schema or {}).get("properties", {})
    if an_input or value.keys() != {"resume"} or "thread_id" not in config.get("configurable", {}):
        return msgspec.UNSET
    return value["resume"]


async def json(request: web.Request) -> tuple[Any, int]:
    """Return the request's body, decoded, and its length.

    Raises:
        UnsupportedMediaType: It says that it is something else than JSON.
        InvalidRequest: It is empty or malformed.
    """
    content_type = request.content_type
    is_json = content_type == "application/json" or content_type.endswith("+json")
    if hdrs.CONTENT_TYPE in request.headers and not is_json:
        raise UnsupportedMediaType(f"send JSON with Content-Type: application/json, not {content_type}")
    data = await body(request)
    return payload(request, data), len(data)


def payload(request: web.Request, data: bytes) -> Any:
    """Decode a payload.

    Raises:
        InvalidRequest: It is malformed.
    """
    try:
        return decoded(data, request.app[SERVICE].dockfile.limits.max_json_depth)
    except ValueError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None


def decoded(data: bytes, max_depth: int) -> Any:
    """Decode JSON.

    Args:
        data: What a caller sent.
        max_depth: How many arrays and objects may be inside each other.

    Raises:
        ValueError: It is none, or nested more deeply.
    """
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        raise ValueError(f"it is nested more than {max_depth} deep") from None
    if data.count(b"[") + data.count(b"{") > max_depth and _is_deeper(value, max_depth):
        raise ValueError(f"it is nested more than {max_depth} deep")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    """Tell whether more than so many arrays and objects are inside each other."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
    return bool(level)


async def body(request: web.Request) -> bytes:
    """Return the request's body.

    Raises:
        InvalidRequest: It is empty, or cannot be read.
    """
    if not (data := await _read(request)):
        raise InvalidRequest("the body is empty; send JSON, for example {}")
    return data


async def _read(request: web.Request) -> bytes:
    seconds = request.app[SERVICE].dockfile.limits.body_timeout
    try:
        if request.content.is_eof():  # as a rule, all of it is there
            return await request.read()
        async with asyncio.timeout(seconds):
            return await request.read()
    except (web.HTTPException, ConnectionError):
        raise
    except TimeoutError:
        raise InvalidRequest(f"the body did not arrive within {seconds} s") from None
    except Exception as error:  # a broken chunk or a body that is not encoded as it says
        raise InvalidRequest("the body cannot be read as its headers say") from error


def run_id(request: web.Request) -> str:
    """Return the run id of the path, and note it for the log.

    Raises:
        InvalidRequest: It is malformed.
    """
    name = validate_run_id(request.match_info["run_id"])
    request[RUN_ID] = name
    return name


def with_events_url(call: Call, request: web.Request, run_id: str) -> Call:
    """Add where an agent process near this one finds the run's events, if it can.

    The address is the one that the request came to, so that it is sure to lead here.
    """
    dockfile, transport = request.app[SERVICE].dockfile, request.transport
    if transport is None or dockfile.agent.mode != "url" or not dockfile.streaming.async_runs:
        return call
    address: Any = transport.get_extra_info("sockname")
    path = f"/runs/{run_id}/events"
    if isinstance(address, str):
        return msgspec.structs.replace(call, events_url=f"unix:{address}:{path}")
    return msgspec.structs.replace(
        call, events_url=str(URL.build(scheme="http", host=address[0], port=address[1], path=path))
    )


def integer(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number of the query.

    Raises:
        InvalidRequest: It is none, or not in the range.
    """
    text = request.query.get(name)
    return default if text is None else _integer(f"?{name}=", text, low, high)


def boolean(request: web.Request, name: str) -> bool:
    """Return a `true` or `false` of the query, false when it is not there.

    Raises:
        InvalidRequest: It is neither.
    """
    text = request.query.get(name, "false")
    if text not in _BOOLEANS:
        raise InvalidRequest(f"?{name}= is true or false")
    return _BOOLEANS[text]


def choice(request: web.Request, name: str, choices: tuple[str, ...]) -> str | None:
    """Return a word of the query, None when it is not there.

    Raises:
        InvalidRequest: It is none of the choices.
    """
    text = request.query.get(name)
    if text is not None and text not in choices:
        raise InvalidRequest(f"?{name}= is one of {', '.join(choices)}")
    return text


def reason(request: web.Request) -> str | None:
    """Return why a run is to be cancelled, None when the caller does not say.

    Raises:
        InvalidRequest: It is too long.
    """
    text = request.query.get("reason")
    if text is not None and len(text) > MAX_REASON:
        raise InvalidRequest(f"?reason= has at most {MAX_REASON} characters")
    return None if text is None else text.encode("utf-8", "replace").decode()


def timeout(request: web.Request) -> int:
    """Return the seconds after which a stream of events ends.

    Raises:
        InvalidRequest: They are no number, or not in the range.
    """
    default = request.app[SERVICE].dockfile.streaming.connection.default_timeout
    return integer(request, "timeout", default, 1, 3600)


def position(request: web.Request) -> int:
    """Return the last sequence the reader has, 0 for none.

    `Last-Event-ID`, which a reconnecting `EventSource` sends (WHATWG HTML, 9.2), wins over
    `?from_sequence=`.

    Raises:
        InvalidRequest: One of them is no sequence.
    """
    start = integer(request, "from_sequence", 0, 0, MAX_SEQUENCE)
    last_id = request.headers.get("Last-Event-ID", "")
    if last_id:
        return _integer("Last-Event-ID:", last_id, 0, MAX_SEQUENCE)
    return max(start - 1, 0)


def _integer(what: str, text: str, low: int, high: int) -> int:
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        expected = f"from {low} to {high}" if high < MAX_SEQUENCE else f"of at least {low}"
        raise InvalidRequest(f"{what} is a whole number {expected}")
    return int(text)
