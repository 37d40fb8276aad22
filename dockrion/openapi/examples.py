"""Examples of responses, with the names and settings of the service that is described."""

from datetime import UTC, datetime
from typing import Any

import msgspec

import dockrion
from dockrion import events
from dockrion.auth.events_tokens import LIFETIME_SECONDS
from dockrion.backends.run_log import INTERNAL_FIELDS, Listing, Run
from dockrion.dockfile import Dockfile
from dockrion.events import Entry, EventFilter
from dockrion.openapi import models
from dockrion.wire import sse

RUN_ID = "0199a3c5-7d1e-7c3a-9f52-6b0d1c2e3f40"
_AT = datetime(2026, 11, 22, 10, 30, 5, 123456, UTC)
_TOKEN = "1795343405.5a1f…"  # noqa: S105  not a real token

CANCELLED = models.RunCancelled(RUN_ID, "cancelled")
EVENTS_TOKEN = models.EventsToken(RUN_ID, _TOKEN, LIFETIME_SECONDS)
ANSWER = models.Answer("ask_5cc9e67f83a3ac6e", value=True)
ANSWERED = models.AnswerAccepted(RUN_ID, ANSWER.request_id, "accepted")
FETCHED = models.FetchedAnswer(RUN_ID, ANSWER.request_id, value=True)
PUSHED = models.Pushed(success=True, run_id=RUN_ID, accepted=1, duplicate=False)


def health(dockfile: Dockfile) -> models.Health:
    agent = dockfile.agent
    return models.Health(
        "ok", f"runtime:{agent.name}", dockrion.__version__, _AT, agent.name, agent.framework
    )


def ready(dockfile: Dockfile) -> models.Ready:
    return models.Ready(success=True, status="ready", agent=dockfile.agent.name)


def schemas(dockfile: Dockfile) -> models.Schemas:
    name = dockfile.agent.name
    schema = {"type": "object"}
    return models.Schemas(success=True, agent=name, input_schema=schema, output_schema=None, threads=False)


def info(dockfile: Dockfile) -> models.Info:
    agent = dockfile.agent
    return models.Info(
        success=True,
        agent=models.Agent(agent.name, agent.description, agent.framework, agent.mode, agent.target),
        role="all",
        auth_enabled=dockfile.protected,
        version=dockrion.__version__,
        metadata=msgspec.to_builtins(dockfile.metadata),
        endpoints=["GET /health", "POST /invoke"],
        protocols=list(dockfile.expose.protocols),
        heartbeat_interval=dockfile.streaming.events.heartbeat_interval,
    )


def invoked(dockfile: Dockfile) -> models.Invoked:
    metadata = _metadata(dockfile) | {"latency_seconds": 0.25}
    return models.Invoked(success=True, output=_output(dockfile), metadata=metadata)


def accepted(dockfile: Dockfile) -> models.Accepted:
    if dockfile.expose.streaming == "none":
        return models.Accepted(RUN_ID, "accepted", None, _AT)
    token = (_TOKEN, LIFETIME_SECONDS) if dockfile.protected else ()
    return models.Accepted(RUN_ID, "accepted", f"/runs/{RUN_ID}/events", _AT, *token)


def run(dockfile: Dockfile) -> dict[str, Any]:
    record = Run(
        run_id=RUN_ID,
        status="completed",
        created_at=_AT,
        started_at=_AT,
        completed_at=_AT,
        output=msgspec.Raw(msgspec.json.encode(_output(dockfile))),
        metadata=_metadata(dockfile),
        last_sequence=3,
    )
    fields = {name: getattr(record, name) for name in Run.__struct_fields__}
    return _without(fields, *INTERNAL_FIELDS, "input_excerpt", "truncated")


def listing(dockfile: Dockfile) -> dict[str, Any]:
    shown = {name: value for name, value in run(dockfile).items() if name not in ("input", "output")}
    excerpt = "What is an agent?" if dockfile.streaming.stores_input else None
    return _without(Listing([shown | {"input_excerpt": excerpt, "truncated": False}], None))


def frames(dockfile: Dockfile) -> str:
    """Return a short event stream, as it is sent."""
    run_events: list[tuple[str, dict[str, Any]]] = [
        ("started", {"agent_name": dockfile.agent.name, "framework": dockfile.agent.framework or ""}),
        ("token", {"content": "Hello"}),
        ("complete", {"output": _output(dockfile), "latency_seconds": 0.25, "metadata": _metadata(dockfile)}),
    ]
    allows = EventFilter(dockfile.streaming.events.allowed).allows
    delivered = [(kind, fields) for kind, fields in run_events if allows(kind)]
    return sse.encode_events(
        Entry(number, kind, events.encode(kind, RUN_ID, number, _AT, fields), 0)
        for number, (kind, fields) in enumerate(delivered, 1)
    ).decode()


def webhook(dockfile: Dockfile) -> dict[str, Any]:
    fields = {"output": _output(dockfile), "latency_seconds": 0.25, "metadata": _metadata(dockfile)}
    event = msgspec.json.decode(events.encode("complete", RUN_ID, 3, _AT, fields))
    data = {"run_id": RUN_ID, "status": "completed", "event": event}
    return {"type": "run.completed", "timestamp": event["timestamp"], "data": data}


def _metadata(dockfile: Dockfile) -> dict[str, Any]:
    return {"agent": dockfile.agent.name, "framework": dockfile.agent.framework}


def _output(dockfile: Dockfile) -> Any:
    """Return the first example in the output's schema, or a default."""
    examples = (dockfile.io_schema.output or {}).get("examples")
    return examples[0] if isinstance(examples, list) and examples else {"text": "Hello"}


def _without(value: Any, *omitted: str) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return {name: part for name, part in decoded.items() if name not in omitted}
