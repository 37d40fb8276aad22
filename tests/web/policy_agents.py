"""Agents that emit what policies mask, and what is stored of it."""

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from dockrion.logs import JsonFormatter
from dockrion.policies.patterns import MASK
from dockrion.redaction import Redactor
from dockrion.runs.session import current_session
from tests.backends.conformance import read_all
from tests.support import TIMEOUT_SECONDS, Served

SECRET = "secret-1234"
PATTERN = r"secret-\d{4}"


def safety(**spec: Any) -> dict[str, Any]:
    return {"safety": {"redact_patterns": [PATTERN], **spec}}


async def stored_text(served: Served, run_id: str) -> str:
    """Return everything stored of a run: its events and its record."""
    backend = served.service.backend
    entries = await read_all(backend, run_id, limit=10_000)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    record = msgspec.json.encode(await backend.get(run_id))
    return b"\n".join([*(entry.data for entry in entries), record]).decode()


async def stored_events(served: Served, run_id: str) -> list[dict[str, Any]]:
    """Return the events of a run."""
    entries = await read_all(served.service.backend, run_id, limit=10_000)
    return [msgspec.json.decode(entry.data) for entry in entries]


def text(events: list[dict[str, Any]]) -> str:
    return "".join(event["content"] for event in events if event["type"] == "token")


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Capture the service's log, formatted as on stdout."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(Redactor()))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@contextmanager
def taking_long(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, work: Callable[[], object] | None = None
) -> Iterator[threading.Event]:
    """Let a function that masks texts in threads take until the event is set, waiting or working."""
    done = threading.Event()
    function = getattr(owner, name)

    def slow(*arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            deadline = time.monotonic() + TIMEOUT_SECONDS
            while work is not None and not done.is_set() and time.monotonic() < deadline:
                work()
            assert done.wait(TIMEOUT_SECONDS)
        return function(*arguments)

    monkeypatch.setattr(owner, name, slow)
    try:
        yield done
    finally:
        done.set()


def nested(value: Any) -> dict[str, Any]:
    return {"deep": [{"list": [value, 1, None, True, 2.5]}, value], "raw": {str(value): {"in": value}}}


async def emits_everything(_payload: Any, context: StreamContext) -> Any:
    for part in ("a sec", "ret", "-12", "34 b", " secret-12"):
        await context.emit_token(part)
        await context.emit_progress(SECRET, 0.5, f"on {SECRET}")
    await context.emit_token("", SECRET)
    await context.emit_step(SECRET, 1.5, [SECRET, "b"], [SECRET])
    await context.checkpoint(SECRET, nested(SECRET))
    await context.checkpoint("raw", msgspec.Raw(msgspec.json.encode(nested(SECRET))))
    await context.checkpoint("escaped", msgspec.Raw(rb'"\u0073ecret\u002d1234"'))
    await context.checkpoint("text", SECRET)
    await context.emit("mine", {"data": nested(SECRET), SECRET: 1}, more=(SECRET, {SECRET}))
    session = current_session()
    assert session is not None
    await session.emit_event({"type": "custom:other", "said": SECRET})
    return {"answer": SECRET, SECRET: nested(SECRET)}


SAID = {
    "progress": {"step": MASK, "progress": 0.5, "message": f"on {MASK}"},
    "step": {"node_name": MASK, "duration_ms": 1.5, "input_keys": [MASK, "b"], "output_keys": [MASK]},
    "custom:mine": {"data": nested(MASK), MASK: 1, "more": [MASK, [MASK]]},
    "custom:other": {"said": MASK},
}
CHECKPOINTS = [(MASK, nested(MASK)), ("raw", nested(MASK)), ("escaped", MASK), ("text", MASK)]
OUTPUT = {"answer": MASK, MASK: nested(MASK)}


def sync_twin(payload: Any, context: StreamContext) -> Any:
    for part in ("a sec", "ret", "-12", "34 b", " secret-12"):
        context.sync_emit_token(part)
        context.sync_checkpoint(SECRET, nested(payload))
    return [SECRET]
