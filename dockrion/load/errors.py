"""What went wrong, as a kind that can be counted."""

import os
import re
import ssl
from typing import Any

import aiohttp
import msgspec

from dockrion.load.frames import FrameTooLongError

EXPECTED = (aiohttp.ClientError, OSError, TimeoutError, FrameTooLongError, ValueError)
BROKEN = (
    aiohttp.ClientPayloadError,
    aiohttp.ClientOSError,
    aiohttp.ServerDisconnectedError,
    ConnectionError,
)
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,49}")
_MOST_BODY = 64 * 1024


class FailedError(aiohttp.ClientError):
    """What was asked for did not come; the text is the kind of error."""


async def refused(answer: aiohttp.ClientResponse) -> FailedError:
    """Read why the server refused."""
    told = code(await body(answer))
    return FailedError(f"HTTP {answer.status}{told} from {answer.method} {_shape(answer.url.path)}")


async def body(answer: aiohttp.ClientResponse) -> bytes:
    """Read a short answer, or the beginning of a long one."""
    read = bytearray()
    while len(read) < _MOST_BODY and (chunk := await answer.content.readany()):
        read += chunk
    return bytes(read)


def code(body: bytes) -> str:
    """Return the `code` of an error's JSON, with a space before it, if there is one."""
    try:
        told: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    found = told.get("code") if isinstance(told, dict) else None
    return f" {found}" if isinstance(found, str) and _CODE.fullmatch(found) else ""


def kind(error: Exception) -> str:
    """Name an error for the table."""
    match error:
        case FailedError():
            return str(error)
        case aiohttp.ConnectionTimeoutError():
            return "cannot connect: no answer in time"
        case TimeoutError():
            return "the server sent nothing for too long"
        case aiohttp.ClientSSLError():
            refusal = error.os_error
            return f"cannot connect: TLS {refusal.reason if isinstance(refusal, ssl.SSLError) else 'failed'}"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return f"cannot connect: {os.strerror(number) if number and number > 0 else error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "the server closed the connection without an answer"
        case aiohttp.ClientPayloadError() | aiohttp.ClientOSError() | ConnectionError():
            return "the connection broke"
        case FrameTooLongError():
            return "a frame does not end"
    return type(error).__name__


def _shape(path: str) -> str:
    """Return a path without what differs from run to run."""
    return re.sub(r"/runs/[^/]+/events$", "/runs/{id}/events", path)
