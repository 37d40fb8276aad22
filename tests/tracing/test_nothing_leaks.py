"""No secret, payload or token is in a span, a line of the log or a metric, unless it was asked for."""

import logging
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from dockrion import StreamContext, tool
from dockrion.logs import JsonFormatter
from dockrion.runs.session import current_session
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.tracing.receiver import Collector, collecting
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
CONTENT = (
    "in-the-payload",
    "in-the-arguments",
    "in-the-result",
    "in-a-checkpoint",
    "in-the-output",
)
NUMBER = "card-1234-5678"  # which the policy redacts


@tool
def look_up(topic: str) -> str:
    logging.getLogger("agent").warning("looking up with %s", SECRETS["API_TOKEN"])
    with trace.get_tracer("agent").start_as_current_span("own", attributes={"token": SECRETS["API_TOKEN"]}):
        return f"in-the-result {len(topic)} {SECRETS['API_TOKEN']} {NUMBER}"


async def agent(payload: Any, context: StreamContext) -> Any:
    """Do everything that an agent can, with content in all of it."""
    print(SECRETS["API_TOKEN"])
    await context.emit_token(f"in-a-token {SECRETS['API_TOKEN']}")
    look_up(f"in-the-arguments {SECRETS['API_TOKEN']}")
    await context.checkpoint("cp", {"data": f"in-a-checkpoint {SECRETS['API_TOKEN']}"})
    await context.emit_usage("gpt", 10, 2)
    if payload["then"] == "raise":
        raise ValueError(SECRETS["API_TOKEN"])
    return {"text": f"in-the-output {NUMBER} {payload['text']}"}


async def served_with_secrets(
    serve: Serve, folder: Path, collector: Collector, langfuse: Collector, receiver: Receiver, **tracing: Any
) -> Served:
    headers = f"OTLP_HEADERS='authorization=Bearer%20{HEADER}'"
    variables = "\n".join([headers, *(f"{name}={value}" for name, value in SECRETS.items())])
    (folder / ".env").write_text(f"{variables}\n")
    return await serve(
        agent,
        secrets={"required": [{"name": "API_TOKEN"}]},
        auth={"mode": "api_key", "api_keys": {"prefix": "KEY_"}},
        policies={"safety": {"redact_patterns": [r"card-\d{4}-\d{4}"]}},
        streaming={"ingest": {"enabled": True, "token_env": "PUSH_TOKEN"}},
        webhooks=[{"url": receiver.url, "secret_env": "HOOK_SECRET"}],
        observability={
            "tracing": {"endpoint": collector.url, "headers_env": "OTLP_HEADERS", **tracing},
            "langfuse": {"enabled": True, "host": langfuse.url},
        },
    )


async def do_everything(served: Served, receiver: Receiver) -> str:
    """Use a service in all ways, end its traces, and return its metrics."""
    served.client.session.headers["X-API-Key"] = SECRETS["KEY_ANN"]
    payload = {"text": f"in-the-payload {SECRETS['API_TOKEN']}", "then": "return"}
    await served.finished(await served.start(payload))
    await served.finished(await served.start({**payload, "then": "raise"}))
    for path in ("/invoke", "/invoke/stream", "/runs?run_id=bad%20in-the-payload"):
        async with served.client.post(path, json=payload) as response:
            await response.read()
    token = {"Authorization": f"Bearer {SECRETS['PUSH_TOKEN']}"}
    async with served.client.post("/runs?external=true", json=payload, headers=token) as response:
        await response.read()
    await receiver.wait_for(2)
    async with served.client.get("/metrics") as response:
        metrics = await response.text()
    assert served.service.tracing is not None
    await served.service.tracing.aclose()
    return metrics


@pytest.mark.parametrize("asked", [False, True])
async def test_nothing_leaks(serve: Serve, collector: Collector, tmp_path: Path, asked: bool) -> None:
    lines: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    async with collecting() as langfuse, receiving() as receiver:
        served = await served_with_secrets(
            serve, tmp_path, collector, langfuse, receiver, capture_content=asked
        )
        formatter = JsonFormatter(served.service.redactor, current_session)
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
    for text in CONTENT:
        assert (text in spans) is asked, text
        assert text not in log + metrics
    for text in (NUMBER, "in-a-token"):
        assert text not in spans + log + metrics
