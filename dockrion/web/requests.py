"""What callers send: bodies and query parameters, none of it to be trusted."""

import asyncio
import re
from typing import Any

import msgspec
from aiohttp import hdrs, web

from dockrion.errors import InvalidRequest, UnsupportedMediaType
from dockrion.ids import checked
from dockrion.validation import Schema
from dockrion.web.service import RUN_ID

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_SEQUENCE = 2**63 - 1
_MAX_REASON = 1000
_BODY_SECONDS = 60.0
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


async def payload(request: web.Request, schema: Schema | None) -> Any:
    """Return the request's body, decoded and valid.

    Raises:
        UnsupportedMediaType: It says that it is something else than JSON.
        InvalidRequest: It is empty, malformed, or breaks the schema.
    """
    content_type = request.content_type
    is_json = content_type == "application/json" or content_type.endswith("+json")
    if hdrs.CONTENT_TYPE in request.headers and not is_json:
        raise UnsupportedMediaType(f"send JSON with Content-Type: application/json, not {content_type}")
    body = await _read(request)
    if not body:
        raise InvalidRequest("the body is empty; send JSON, for example {}")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    if schema is not None and (violations := schema.violations(value, len(body))):
        raise InvalidRequest("the body does not match io_schema.input", details=violations)
    return value


async def _read(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except (web.HTTPException, ConnectionError):
        raise
    except TimeoutError:
        raise InvalidRequest(f"the body did not arrive within {_BODY_SECONDS:g} s") from None
    except Exception as error:  # a broken chunk or a body that is not encoded as it says
        raise InvalidRequest("the body cannot be read as its headers say") from error


def run_id(request: web.Request) -> str:
    """Return the run id of the path, and note it for the log.

    Raises:
        InvalidRequest: It is malformed.
    """
    name = checked(request.match_info["run_id"])
    request[RUN_ID] = name
    return name


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
    if text is not None and len(text) > _MAX_REASON:
        raise InvalidRequest(f"?reason= has at most {_MAX_REASON} characters")
    return None if text is None else text.encode("utf-8", "replace").decode()


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
