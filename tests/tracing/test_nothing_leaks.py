"""No secret, payload or token is in a span, a line of the log or a metric, unless it was asked for."""

import asyncio
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import pytest
from opentelemetry import trace

from dockrion import StreamContext, tool
from dockrion.dockfile.expose_structs import ProtocolName
from dockrion.logs import JsonFormatter
from dockrion.runs.session import current_session
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.tracing.receiver import Collector, collecting
from tests.web.protocols.test_every_protocol import CLIENTS, QUESTION
from tests.webhooks.receiver import Receiver, receiving

SECRETS = {
    "API_TOKEN": "a-secret-of-the-agent",
    "KEY_ANN": "the-key-of-a-caller",
    "PUSH_TOKEN": "the-token-for-pushing",
    "HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "LANGFUSE_PUBLIC_KEY": "pk-lf-public-key",
    "LANGFUSE_SECRET_KEY": "sk-lf-secret-key",
}
HEADER = "the-token-of-the-collector"
SCHEMAS = {"input": {"type": "string"}, "output": {"type": "string", "maxLength": 3}}
CONTENT = (
    "in-the-payload",
    "in-the-arguments",
    "in-the-result",
    "in-the-exception-of-a-tool",
    "in-a-checkpoint",
    "in-the-output",
    QUESTION,
)
LOGGED = "in-an-exception", "in-a-reason"  # and content of spans
NAMES = "in-the-name-of-a-step", "in-the-name-of-a-tool", "in-the-name-of-a-checkpoint"  # in spans
NEVER = (
    *("in-a-token", "in-reasoning", "in-progress", "in-a-custom-event"),
    *("in-a-bad-payload", "in-a-key", "in-a-header", "in-a-query", "in-a-bad-request"),
)
NUMBER = "card-1234-5678"  # which the policy redacts


@tool
def look_up(topic: str) -> str:
    logging.getLogger("agent").warning("looking up with %s", SECRETS["API_TOKEN"])
    with trace.get_tracer("agent").start_as_current_span("own", attributes={"token": SECRETS["API_TOKEN"]}):
        return f"in-the-result {len(topic)} {SECRETS['API_TOKEN']} {NUMBER}"


@tool(name="in-the-name-of-a-tool")
def fail() -> None:
    raise ValueError(f"in-the-exception-of-a-tool {SECRETS['API_TOKEN']}")


async def agent(payload: Any, context: StreamContext) -> Any:
    """Do everything that an agent can, with content in all of it."""
    print(SECRETS["API_TOKEN"])
    await context.emit_token(f"in-a-token {SECRETS['API_TOKEN']}")
    look_up(f"in-the-arguments {SECRETS['API_TOKEN']}")
    await context.emit_reasoning("in-reasoning")
    await context.emit_progress("in-progress", 0.5, "in-progress")
    await context.emit("note", {"text": "in-a-custom-event"})
    await context.emit_step("in-the-name-of-a-step", 1)
    with suppress(ValueError):
        fail()
    await context.checkpoint(
        "in-the-name-of-a-checkpoint", {"data": f"in-a-checkpoint {SECRETS['API_TOKEN']}"}
    )
    await context.emit_usage("gpt", 10, 2)
    match payload.get("then"):
        case "raise":
            raise ValueError(f"in-an-exception {SECRETS['API_TOKEN']} {NUMBER}")
        case "wait":
            await asyncio.Event().wait()
    return {"text": f"in-the-output {NUMBER} {payload.get('text')}"}


async def served_with_secrets(
    serve: Serve, folder: Path, collector: Collector, langfuse: Collector, receiver: Receiver, **tracing: Any
) -> Served:
    headers = f"OTLP_HEADERS='authorization=Bearer%20{HEADER}'"
    variables = "\n".join([headers, *(f"{name}={value}" for name, value in SECRETS.items())])
    (folder / ".env").write_text(f"{variables}\n")
    return await serve(
        agent,
        secrets={"required": [{"name": "API_TOKEN"}]},
        expose={"protocols": list(get_args(ProtocolName))},
        io_schema={name: {"properties": {"text": schema}} for name, schema in SCHEMAS.items()},
        auth={"mode": "api_key", "api_keys": {"prefix": "KEY_"}},
        policies={"safety": {"redact_patterns": [r"card-\d{4}-\d{4}"]}},
        streaming={"ingest": {"enabled": True, "token_env": "PUSH_TOKEN"}},
        webhooks=[{"url": receiver.url, "secret_env": "HOOK_SECRET"}],
        observability={
            "tracing": {"endpoint": collector.url, "headers_env": "OTLP_HEADERS", **tracing},
            "langfuse": {"enabled": True, "host": langfuse.url},
        },
    )


async def send(
    served: Served, path: str, body: Any, headers: dict[str, str] | None = None, *, status: int | None = 200
) -> None:
    async with served.client.post(path, json=body, headers=headers) as response:
        text = await response.text()
        assert status in (None, response.status), text


async def do_everything(served: Served, receiver: Receiver) -> str:
    """Use a service in all ways, right and wrong, end its traces, and return its metrics."""
    served.client.session.headers["X-API-Key"] = SECRETS["KEY_ANN"]
    payload = {"text": f"in-the-payload {SECRETS['API_TOKEN']}"}
    await served.finished(await served.start(payload))
    await served.finished(await served.start({**payload, "then": "raise"}))
    run_id = await served.start({**payload, "then": "wait"})
    async with served.events(run_id) as reader:
        await reader.until("checkpoint")
        await served.client.delete(f"/runs/{run_id}", params={"reason": "in-a-reason"})
    key = {"Idempotency-Key": "in-a-key"}
    await send(served, "/invoke", payload, key)
    await send(served, "/invoke/stream", payload)
    for client in CLIENTS.values():
        await send(served, client.path, client.body)
    await send(served, "/invoke", payload | {"more": 1}, key, status=422)
    await send(served, "/invoke", payload, {"Idempotency-Key": "in-a-key" * 100}, status=400)
    await send(served, "/runs?run_id=in-a-query%20", payload, {"X-Note": "in-a-header"}, status=400)
    await send(served, "/runs", {"text": ["in-a-bad-payload"]}, status=400)
    for client in CLIENTS.values():
        body = {
            "jsonrpc": "2.0",
            "id": "in-a-bad-request",
            "method": "in-a-bad-request",
            "model": "in-a-bad-request",
        }
        await send(served, client.path, {"messages": ["in-a-bad-request"], **body}, status=None)
    token = {"Authorization": f"Bearer {SECRETS['PUSH_TOKEN']}"}
    await send(served, "/runs?external=true", payload, token, status=202)
    await receiver.wait_for(2)
    async with served.client.get("/metrics") as response:
        metrics = await response.text()
    assert served.service.tracing is not None
    await served.service.tracing.aclose()
    return metrics


@pytest.mark.parametrize("asked", [False, True])
async def test_nothing_leaks(
    serve: Serve, collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    lines: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    async with collecting() as langfuse, receiving() as receiver:
        served = await served_with_secrets(
            serve, tmp_path, collector, langfuse, receiver, capture_content=asked
        )
        formatter = JsonFormatter(served.service.redactor, current_session)
        handler.addFilter(lambda record: record.name != "aiohttp.access")  # of the test's server alone
        handler.emit = lambda record: lines.append(formatter.format(record))  # type: ignore[method-assign]
        logging.getLogger().addHandler(handler)
        metrics = await do_everything(served, receiver)
        logging.getLogger().removeHandler(handler)
        await wait_until(lambda: len(collector.named("invoke_agent tested")) >= 4)
    spans = b"".join(collector.bodies + langfuse.bodies).decode(errors="replace")
    log = "\n".join(line for line in lines if '"agent"' not in line)
    assert "invoke_agent tested" in spans
    assert "run failed" in log
    assert "dockrion_runs" in metrics
    for secret in (*SECRETS.values(), HEADER):
        for place in (spans, "\n".join(lines), metrics):
            assert secret not in place
    for text in (*CONTENT, *LOGGED):
        assert (text in spans) is asked, text
    for text in NAMES:
        assert text in spans
    for text in (*CONTENT, *NAMES, *NEVER, NUMBER):
        assert text not in log, text
    for text in (*CONTENT, *LOGGED, *NAMES, *NEVER, NUMBER):
        assert text not in metrics, text
    for text in (*NEVER, NUMBER):
        assert text not in spans, text
    for text, message in zip(LOGGED, ("run failed", "run cancelled"), strict=True):
        (line,) = (json.loads(line) for line in lines if text in line)
        assert line["message"] == message
