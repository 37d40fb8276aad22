"""Request bodies, which are untrusted: reading, decoding and validating what callers send to the agent."""

import asyncio
import logging
import re
from functools import partial
from typing import Any

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from dockrion.agents import runnable_config
from dockrion.agents.json_types import ConversionError, JsonType
from dockrion.caller import CallerRequest, current_request
from dockrion.errors import AgentFailed, InvalidRequest, PolicyViolation, UnsupportedMediaType
from dockrion.json_schema import MAX_MESSAGE, Violation
from dockrion.logs import log
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.agent import Call
from dockrion.runs.stored_input import StoredInput, stored_input
from dockrion.threads import in_thread
from dockrion.web.access import CALLER
from dockrion.web.service import SERVICE, Service

_logger = logging.getLogger(__name__)
CONFIG = "_config"  # the field of a payload with the config of a graph or chain
_MISMATCH = "the body does not match io_schema.input"
_INLINE_BYTES = 128 * 1024  # larger bodies are scanned or converted in a thread: the event loop goes on
_MAX_SANITIZED = 16 * MAX_MESSAGE  # characters, of each message
_NOT_TEXT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # bytes that are not UTF-8 are surrogates
_CONTAINERS = (list, dict)


async def read_call(request: web.Request, *, recorded: bool = True) -> Call:
    """Read the request's body and return the agent call it describes.

    Args:
        request: The request.
        recorded: Whether the call becomes a run, whose record may keep the input.

    Raises:
        UnsupportedMediaType: The content type is not JSON.
        InvalidRequest: The body is empty, malformed, or does not match `io_schema.input`.
        PolicyViolation: The body contains a blocked phrasing.
    """
    require_json(request)
    return await decoded_call(request, await read_body(request), recorded=recorded)


async def decoded_call(request: web.Request, data: bytes, *, recorded: bool = True) -> Call:
    """Return the agent call that a payload describes.

    Args:
        request: The request that the payload came with.
        data: The payload, JSON.
        recorded: As for `read_call`.

    Raises:
        InvalidRequest: It is malformed, or does not match `io_schema.input`, or the type that the agent's
            code declares.
        AgentFailed: That type's own validators failed.
        PolicyViolation: It contains a blocked phrasing.
    """
    service, value, size = request.app[SERVICE], decode_payload(request, data), len(data)
    await refuse_injections(request, value, size)
    config, resume = split_config(service, value)
    schema = service.input_schema
    if resume is msgspec.UNSET and schema is not None and (violations := schema.violations(value, size)):
        raise InvalidRequest(_MISMATCH, details=violations)
    keeps_input = recorded and service.dockfile.streaming.stores_input
    stored = await keep_input(service, value, data) if keeps_input else None
    if service.payload_type is not None:
        value = await converted(service.payload_type, value, size, service.redactor)
    body = data if service.keeps_bodies else None
    return Call(value, config, resume, _caller_request(request), None, request[CALLER], stored, body)


def split_config(service: Service, value: Any) -> tuple[dict[str, Any] | None, Any]:
    """Take the config out of a payload; return it, and the value that resumes a thread, or UNSET."""
    dockfile = service.dockfile
    if not (dockfile.agent.takes_config and isinstance(value, dict) and CONFIG in value):
        return None, msgspec.UNSET
    config = _config(value.pop(CONFIG), allowed=dockfile.arguments.allow_request_config)
    return config, _resume(value, config, dockfile.io_schema.input)


async def keep_input(service: Service, value: Any, data: bytes) -> StoredInput | None:
    """Return what the run's record keeps of a payload."""
    keep = partial(stored_input, value, data, service.redactor, service.input_mask)
    if service.input_mask is None or len(data) <= _INLINE_BYTES:
        return keep()
    stored: StoredInput | None = await in_thread(keep, "dockrion-mask")
    return stored


async def converted(payload_type: JsonType, value: Any, size: int, redactor: Redactor) -> Any:
    """Return a payload as the type that the agent's code declares.

    Raises:
        InvalidRequest: It cannot be converted.
        AgentFailed: The agent's validators failed.
    """
    convert = partial(_convert, payload_type, value, size, redactor)
    return await in_thread(convert, "dockrion-payload") if size > _INLINE_BYTES else convert()


def _convert(payload_type: JsonType, value: Any, size: int, redactor: Redactor) -> Any:
    try:
        return payload_type.convert(value, size)
    except ConversionError as error:
        details = [_sanitized(each, redactor) for each in error.violations]
        raise InvalidRequest(_MISMATCH, details=details) from None
    except BaseException as error:  # the agent's validators may raise whatever its runs may
        failed = outcome.of_exception(error)
        log(_logger, logging.WARNING, "payload conversion failed", code=failed.code, error=error)
        raise AgentFailed(redactor.sanitize(failed.error[:_MAX_SANITIZED]), details=failed.details) from None


def _sanitized(violation: Violation, redactor: Redactor) -> Violation:
    """Return a violation whose message, which the agent's validators may have written, is fit for callers."""
    message = redactor.sanitize(violation.message[:_MAX_SANITIZED])[:MAX_MESSAGE]
    return Violation(violation.path, message)


async def refuse_injections(request: web.Request, value: Any, size: int) -> None:
    """Refuse what a caller sends to the agent if it contains a blocked phrasing.

    Args:
        request: The request that it came with.
        value: What the caller sends, decoded.
        size: Its size as JSON, in bytes.

    Raises:
        PolicyViolation: It does.
    """
    find = request.app[SERVICE].find_injections
    if find is None:
        return
    if size > _INLINE_BYTES:
        violations = await in_thread(lambda: find(value), "dockrion-phrasings")
    else:
        violations = find(value)
    if violations:
        request.app[SERVICE].metrics.count_policy_hit("injection")
        raise PolicyViolation("the body contains a phrasing that is blocked here", details=violations)


def _caller_request(request: web.Request) -> CallerRequest:
    names, current = request.app[SERVICE].dockfile.agent.forward_headers, current_request()
    if not names:
        return current
    return msgspec.structs.replace(current, headers=_forwarded_headers(request, names))


def _forwarded_headers(request: web.Request, names: list[str]) -> CIMultiDictProxy[str]:
    """Return the headers that the agent gets.

    Raises:
        InvalidRequest: One is too long, or no text.
    """
    headers = CIMultiDict[str]()
    longest = request.app[SERVICE].dockfile.limits.max_header_bytes
    for name in names:
        if values := request.headers.getall(name, ()):
            headers[name] = value = ("; " if name.lower() == "cookie" else ", ").join(values)
            if len(value) > longest:
                raise InvalidRequest(f"the header {name} has more than {longest} characters")
            if _NOT_TEXT.search(value):
                raise InvalidRequest(f"the header {name} is not UTF-8 text without control characters")
    return CIMultiDictProxy(headers)


def _config(value: Any, *, allowed: bool) -> dict[str, Any]:
    if not allowed:
        raise InvalidRequest(f"this service does not accept {CONFIG}; see arguments.allow_request_config")
    try:
        return runnable_config.parse(value)
    except ValueError as error:
        raise InvalidRequest(f"{CONFIG} is not a valid graph config: {error}") from None


def _resume(value: dict[str, Any], config: dict[str, Any], schema: dict[str, Any] | None) -> Any:
    """Return the value that resumes an interrupted thread, UNSET if the body is an ordinary payload."""
    is_input = "resume" in (schema or {}).get("properties", {})
    if is_input or value.keys() != {"resume"} or "thread_id" not in config.get("configurable", {}):
        return msgspec.UNSET
    return value["resume"]


async def read_json(request: web.Request) -> tuple[Any, int]:
    """Return the request's body, decoded, and its length in bytes.

    Raises:
        UnsupportedMediaType: There is a body, and its content type is not JSON.
        InvalidRequest: The body is empty or malformed.
    """
    require_json(request)
    data = await read_body(request)
    return decode_payload(request, data), len(data)


def require_json(request: web.Request) -> None:
    """Refuse a body of another media type than JSON, or of none.

    Pages of any origin can send such bodies without a preflight (WHATWG Fetch, 2.2.2).

    Raises:
        UnsupportedMediaType: There is such a body.
    """
    content_type = request.content_type
    is_json = content_type == "application/json" or content_type.endswith("+json")
    if not is_json and request.body_exists:
        sent = f"not {content_type}" if hdrs.CONTENT_TYPE in request.headers else "which is missing"
        raise UnsupportedMediaType(f"send JSON with Content-Type: application/json, {sent}")


def decode_payload(request: web.Request, data: bytes) -> Any:
    """Decode a payload.

    Raises:
        InvalidRequest: It is malformed.
    """
    try:
        return decode_json(data, request.app[SERVICE].dockfile.limits.max_json_depth)
    except ValueError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None


def decode_json(data: bytes, max_depth: int) -> Any:
    """Decode JSON of a bounded nesting depth.

    Args:
        data: The JSON.
        max_depth: How many arrays and objects may be nested in each other.

    Raises:
        ValueError: It is not JSON, or nested too deeply.
    """
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        raise ValueError(f"it is nested more than {max_depth} deep") from None
    if data.count(b"[") + data.count(b"{") > max_depth and _is_deeper(value, max_depth):
        raise ValueError(f"it is nested more than {max_depth} deep")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether arrays and objects are nested more than `depth` levels deep."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
    return bool(level)


async def read_body(request: web.Request) -> bytes:
    """Return the request's body.

    Raises:
        InvalidRequest: It is empty, cannot be read, or does not arrive in time.
    """
    seconds = request.app[SERVICE].dockfile.limits.body_timeout
    try:
        if request.content.is_eof():  # usually the whole body has arrived already
            data = await request.read()
        else:
            async with asyncio.timeout(seconds):
                data = await request.read()
    except (web.HTTPException, ConnectionError):
        raise
    except TimeoutError:
        raise InvalidRequest(f"the body did not arrive within {seconds} s") from None
    except Exception as error:  # a malformed chunk, or a body that contradicts its Content-Encoding
        raise InvalidRequest("the body cannot be read as its headers say") from error
    if not data:
        raise InvalidRequest("the body is empty; send JSON, for example {}")
    return data
