"""How much is tried, and what must hold of every answer, whatever was sent."""

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
TIMES = int(os.environ.get("DOCKRION_FUZZ_TIMES", "1"))  # more than once: others than the last time, too
_AT_ONCE = 500
_INSIDES = [b"Traceback", b'File "', b".py", b"site-packages", sys.prefix.encode(), str(Path.cwd()).encode()]
_HEADERS = {
    *("allow", "cache-control", "connection", "content-length", "content-security-policy", "content-type"),
    *("date", "location", "retry-after", "server", "transfer-encoding", "vary", "www-authenticate"),
    *("access-control-allow-headers", "access-control-allow-methods", "access-control-allow-origin"),
    *("etag", "referrer-policy", "x-content-type-options"),
    *("access-control-expose-headers", "access-control-max-age", "x-accel-buffering", "x-run-id"),
}
_HEAD = re.compile(rb"HTTP/\d\.\d (\d{3}) [A-Za-z ]+\r\n((?:[A-Za-z-]+: [ -~]*\r\n)*)\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)\r\n")


def law(examples: int) -> Callable[[T], T]:
    """Return the settings of a test that tries so many examples, or a multiple."""
    return settings(
        max_examples=examples * TIMES,
        deadline=None,
        derandomize=TIMES == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def several(values: st.SearchStrategy[T], count: int) -> list[T]:
    """Return examples to be sent at once: one after the other they would wait for each other's ends."""
    drawn: list[T] = []

    @law(count)
    @given(value=values)
    def draw(value: T) -> None:
        drawn.append(value)

    draw()
    return drawn


async def holds_for_each(served: Served, sent: list[bytes]) -> None:
    """Send each on a connection of its own, and check all answers."""
    for start in range(0, len(sent), _AT_ONCE):
        some = sent[start : start + _AT_ONCE]
        answers = await asyncio.gather(*(_answers(served, each) for each in some))
        for data, answer in zip(some, answers, strict=True):
            check_answers(data, answer)


async def _answers(served: Served, data: bytes) -> bytes:
    """Return all that comes back until the service closes, which it has to."""
    received = bytearray()
    async with wire(served) as connection:
        try:
            await asyncio.wait_for(_exchange(connection, data, received), TIMEOUT_SECONDS)
        except TimeoutError:
            raise AssertionError(f"neither answered nor ended: {data!r}, {received!r}") from None
        except ConnectionError:  # it was ended before all was read
            pass
    return bytes(received)


async def _exchange(connection: Wire, data: bytes, received: bytearray) -> None:
    connection.writer.write(data)
    while some := await connection.reader.read(65536):
        received += some


def check_answers(sent: bytes, received: bytes) -> None:
    """Check that what was received is answers, each well formed, that show nothing of our insides."""
    for inside in _INSIDES:
        assert inside not in received, (sent, received)
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
    """Return the body at the beginning of some bytes, and what follows."""
    if "content-length" in headers:
        size = int(headers["content-length"])
        return rest[:size], rest[size:]
    if headers.get("transfer-encoding") != "chunked":  # until the end of the connection
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


async def still_serves(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Check that the service is well, and had no error of its own."""
    async with served.client.get("/health") as answer:
        assert answer.status == 200
    assert [record.getMessage() for record in caplog.records if _is_a_failure(record)] == []


def _is_a_failure(record: logging.LogRecord) -> bool:
    malformed: tuple[Any, ...] = (HttpProcessingError, web.RequestPayloadError)
    said = record.exc_info[1] if record.exc_info else None
    return record.levelno >= logging.ERROR and not isinstance(said, malformed)
