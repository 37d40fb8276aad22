"""Agents and checks that tests of the HTTP API share."""

import asyncio
import re
import threading
from typing import Any

import aiohttp
from prometheus_client import Gauge

from dockrion import StreamContext
from tests.support import TIMEOUT_SECONDS

_PATHS = re.compile(r"(/[\w.-]+){2,}|Traceback|\.py\b|File \"")


class Waits:
    """An agent that emits `first`, waits for `go`, emits `last` and returns."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.payloads: list[Any] = []
        self.ended: list[Any] = []
        self.stopped: list[Any] = []

    async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        self.payloads.append(payload)
        try:
            await context.emit_token("first")
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.append(payload)
            raise
        await context.emit_token("last")
        self.ended.append(payload)
        return {"done": True}


class BlockedAgent:
    """A sync agent that blocks its thread until `go`."""

    def __init__(self) -> None:
        self.working = threading.Event()
        self.go = threading.Event()
        self.stopped = threading.Event()
        self.ended = threading.Event()

    def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        try:
            context.sync_emit_token("first")
            self.working.set()
            assert self.go.wait(TIMEOUT_SECONDS * 3)
            context.sync_emit_token("last")
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        self.ended.set()
        return {"done": payload}


async def error_of(response: aiohttp.ClientResponse, status: int, code: str) -> dict[str, Any]:
    """Check that a response is an error as in the contract, and return its body."""
    text = await response.text()
    assert response.status == status, text
    assert response.content_type == "application/json"
    body = await response.json()
    assert {"success", "error", "code"} <= body.keys() <= {"success", "error", "code", "details"}
    assert body["success"] is False
    assert body["code"] == code
    assert isinstance(body["error"], str)
    assert body["error"]
    return dict(body)


def gauge(gauge: Gauge) -> float:
    """Return a gauge's value."""
    (metric,) = gauge.collect()
    return float(metric.samples[0].value)


def shows_no_inside(text: str) -> bool:
    """Return whether a text contains no traceback and no local path."""
    return not _PATHS.search(text)
