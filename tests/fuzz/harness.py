"""The number of examples, and the checks that every response must pass."""

import asyncio
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import TIMEOUT_SECONDS, Served
from tests.web.wire import Wire, wire

T = TypeVar("T")
TIMES = int(os.environ.get("DOCKRION_FUZZ_TIMES", "1"))  # multiplies the examples; above 1, they are random
_CONCURRENT = 500
_CLOSED_SECONDS = (
    3 * TIMEOUT_SECONDS
)  # for all that are sent at once: a busy machine takes seconds to respond
_INTERNALS = [
    b"Traceback",
    b'File "',
    b".py",
    b"site-packages",
    sys.prefix.encode(),
    str(Path.cwd()).encode(),
]
_HEADERS = {
    *("allow", "cache-control", "connection", "content-length", "content-security-policy", "content-type"),
    *("date", "location", "retry-after", "server", "transfer-encoding", "vary", "www-authenticate"),
    *("access-control-allow-headers", "access-control-allow-methods", "access-control-allow-origin"),
    *("etag", "referrer-policy", "x-content-type-options"),
    *(
        "access-control-expose-headers",
        "access-control-max-age",
        "x-accel-buffering",
        "x-request-id",
        "x-run-id",
    ),
}
_HEAD = re.compile(rb"HTTP/\d\.\d (\d{3}) [A-Za-z ]+\r\n((?:[A-Za-z-]+: [ -~]*\r\n)*)\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)\r\n")


def fuzz_settings(examples: int) -> Callable[[T], T]:
    """Return Hypothesis settings for a number of examples, or its multiple by DOCKRION_FUZZ_TIMES."""
    return settings(
        max_examples=examples * TIMES,
        deadline=None,
        derandomize=TIMES == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def draw_examples(values: st.SearchStrategy[T], count: int) -> list[T]:
    """Draw examples to send concurrently; in sequence each would wait for the previous one."""
    drawn: list[T] = []

    @fuzz_settings(count)
    @given(value=values)
    def draw(value: T) -> None:
        drawn.append(value)

    draw()
    return drawn


async def check_each(served: Served, sent: list[bytes]) -> None:
    """Send each request on its own connection, and check the responses."""
    for start in range(0, len(sent), _CONCURRENT):
        batch = sent[start : start + _CONCURRENT]
        received = await asyncio.gather(*(_exchange(served, each) for each in batch))
        for data, responses in zip(batch, received, strict=True):
            check_responses(data, responses)


async def _exchange(served: Served, data: bytes) -> bytes:
    """Send data and return everything received until the service closes the connection."""
    received = bytearray()
    async with wire(served) as connection:
        try:
            await asyncio.wait_for(_send_and_receive(connection, data, received), _CLOSED_SECONDS)
        except TimeoutError:
            raise AssertionError(f"the connection was not closed: {data!r}, {received!r}") from None
        except ConnectionError:  # closed before the service read everything
            pass
    return bytes(received)


async def _send_and_receive(connection: Wire, data: bytes, received: bytearray) -> None:
    connection.writer.write(data)
    while chunk := await connection.reader.read(65536):
        received += chunk


def check_responses(sent: bytes, received: bytes) -> None:
    """Check that received data consists of well-formed responses that reveal no internals."""
    for internal in _INTERNALS:
        assert internal not in received, (sent, received)
    rest = received
    while rest:
        head = _HEAD.match(rest)
        assert head is not None, (sent, received)
        status, lines = int(head[1]), head[2].decode().split("\r\n")[:-1]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert status < 500, (sent, received)
        assert headers.keys() <= _HEADERS, (sent, received)
        rest = rest[head.end() :]
        if status < 200 or status == 204 or (sent.startswith(b"HEAD") and not rest.startswith(b"{")):
            continue
        body, rest = _body(headers, rest)
        if status >= 400 and headers.get("content-type", "").startswith("application/json"):
            error = msgspec.json.decode(body)
            assert error["success"] is False, (sent, received)
            assert error["code"], (sent, received)
        else:
            assert status < 400, (sent, received)


def _body(headers: dict[str, str], rest: bytes) -> tuple[bytes, bytes]:
    """Split data into the body it starts with and the rest."""
    if "content-length" in headers:
        size = int(headers["content-length"])
        return rest[:size], rest[size:]
    if headers.get("transfer-encoding") != "chunked":  # the body extends to the end of the connection
        return rest, b""
    body = b""
    while (chunk := _CHUNK.match(rest)) is not None:
        end = chunk.end() + int(chunk[1], 16)
        body += rest[chunk.end() : end]
        assert rest[end : end + 2] == b"\r\n", rest
        rest = rest[end + 2 :]
        if end == chunk.end():
            break
    return body, rest


async def check_healthy(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Check that the service is healthy and has logged no error."""
    async with served.client.get("/health") as response:
        assert response.status == 200
    assert [record.getMessage() for record in caplog.records if _is_failure(record)] == []


def _is_failure(record: logging.LogRecord) -> bool:
    malformed: tuple[Any, ...] = (HttpProcessingError, web.RequestPayloadError)
    error = record.exc_info[1] if record.exc_info else None
    return record.levelno >= logging.ERROR and not isinstance(error, malformed)
