"""Webhooks of a whole service: its own targets, and `POST /runs?webhook_url=`."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from dockrion import StreamContext
from dockrion.caller import CallerRequest, current_request
from dockrion.dockfile import load
from dockrion.errors import StartError
from dockrion.web.app import create_app
from dockrion.web.start_checks import check_start
from tests.backends.trouble import Logged, logged
from tests.conftest import Serve
from tests.exposition import metric
from tests.support import TIMEOUT_SECONDS, WEBHOOK_SECRET, dockfile, wait_until
from tests.web.helpers import Waits, error_of
from tests.webhooks.receiver import Receiver, hang, receiving

__all__ = ["logged"]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HOSTS: dict[str, Any] = {"allowed_hosts": ["127.0.0.0/8"], "secret_env": "TESTS_WEBHOOK_SECRET"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def target(receiver: Receiver, *events: str) -> dict[str, Any]:
    chosen = {"events": list(events)} if events else {}
    return {"url": receiver.url, "secret_env": "TESTS_WEBHOOK_SECRET", **chosen}


async def emit(payload: Any, context: StreamContext) -> Any:
    """Emit a token and a custom event, then return, or raise as the payload says."""
    await context.emit_token("hello")
    await context.emit("invoice", {"number": 7})
    if payload.get("raise"):
        raise ValueError("broken")
    return {"done": True}


@pytest.mark.usefixtures("every_backend")
async def test_webhooks_and_lines_about_them_continue_the_trace_of_the_request(
    serve: Serve, receiver: Receiver
) -> None:
    requests: dict[str, CallerRequest] = {}
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: requests.update({record.getMessage(): current_request()})  # type: ignore[method-assign]
    logging.getLogger("dockrion.webhooks").addHandler(handler)
    receiver.script(web.Response(status=410))
    served = await serve(emit, webhooks=[target(receiver)])
    sent = {"traceparent": TRACE, "tracestate": "a=1", "X-Request-ID": "req-1"}
    async with served.client.post("/runs", json={}, headers=sent) as response:
        assert response.status == 202
    await receiver.wait_for(1)
    await wait_until(lambda: "webhook given up" in requests)
    logging.getLogger("dockrion.webhooks").removeHandler(handler)
    assert {name: receiver.headers[0][name] for name in sent} == sent
    assert requests["webhook given up"].context_headers == sent


@pytest.mark.usefixtures("every_backend")
async def test_a_target_is_told_how_each_run_ends(serve: Serve, receiver: Receiver) -> None:
    served = await serve(emit, webhooks=[target(receiver)])
    run_id = await served.start()
    await receiver.wait_for(1)
    failed = await served.start({"raise": True})
    await receiver.wait_for(2)
    completed, error = receiver.received
    async with served.events(run_id) as reader:
        last = (await reader.all())[-1]
    assert completed == {
        "type": "run.completed",
        "timestamp": completed["data"]["event"]["timestamp"],
        "data": {"run_id": run_id, "status": "completed", "event": json.loads(last.data)},
    }
    assert (error["type"], error["data"]["run_id"], error["data"]["status"]) == (
        "run.failed",
        failed,
        "failed",
    )


async def test_events_of_every_kind_can_be_asked_for(serve: Serve, receiver: Receiver) -> None:
    events = ["started", "token", "custom", "complete"]
    served = await serve(emit, webhooks={"targets": [target(receiver, *events)]})
    async with served.stream() as reader:
        await reader.all()
    await receiver.wait_for(4)
    kinds = [body["type"] for body in receiver.received]
    assert kinds == ["run.started", "run.token", "run.custom.invoice", "run.completed"]
    assert [body["data"]["status"] for body in receiver.received] == [*["running"] * 3, "completed"]


async def test_a_cancelled_run_causes_one(serve: Serve, receiver: Receiver) -> None:
    agent = Waits()
    served = await serve(agent, webhooks=[target(receiver)])
    run_id = await served.start()
    await wait_until(lambda: agent.payloads)
    async with served.client.delete(f"/runs/{run_id}") as response:
        assert response.status == 200
    await receiver.wait_for(1)
    assert receiver.received[0]["type"] == "run.cancelled"


async def test_an_invocation_causes_none(serve: Serve, receiver: Receiver) -> None:
    served = await serve(emit, webhooks=[target(receiver)])
    async with served.client.post("/invoke", json={}) as response:
        assert response.status == 200
    await served.start()
    await receiver.wait_for(1)
    await asyncio.sleep(0.05)
    assert len(receiver.received) == 1


@pytest.mark.usefixtures("every_backend")
async def test_a_caller_can_name_a_url_which_nobody_is_shown(
    serve: Serve, receiver: Receiver, logged: Logged
) -> None:
    served = await serve(emit, webhooks=HOSTS)
    run_id = await served.start(webhook_url=receiver.url)
    await receiver.wait_for(1)
    assert receiver.received[0]["data"]["run_id"] == run_id
    shown = [json.dumps(await served.record(run_id))]
    for path in ("/runs", "/info", "/metrics"):
        async with served.client.get(path) as response:
            shown.append(await response.text())
    assert not any("webhook_url" in text or "token=t" in text for text in shown)
    lines = [vars(record) for record in logged._caplog.records if record.name.startswith("dockrion")]
    assert not any("token=t" in str(line) for line in lines)


@pytest.mark.parametrize(
    ("webhooks", "url"),
    [
        (None, "https://hooks.example.com/"),
        ([], "https://hooks.example.com/"),
        (HOSTS, "https://hooks.example.com/"),
        (HOSTS, "http://10.0.0.1/"),
        (HOSTS, "http://localhost/"),
        (HOSTS, "ftp://127.0.0.1/"),
        (HOSTS, ""),
    ],
)
async def test_any_other_url_is_refused(serve: Serve, webhooks: Any, url: str) -> None:
    served = await serve(emit, webhooks=webhooks)
    async with served.client.post("/runs", json={}, params={"webhook_url": url}) as response:
        assert "webhook_url" in (await error_of(response, 400, "VALIDATION_ERROR"))["error"]
    async with served.client.get("/runs") as response:
        assert (await response.json())["items"] == []


async def test_a_receiver_that_hangs_costs_runs_and_streams_nothing(serve: Serve, receiver: Receiver) -> None:
    receiver.respond = hang
    served = await serve(emit, webhooks=[target(receiver, "token", "complete")])
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for _ in range(5):
            async with served.stream() as reader:
                assert (await reader.all())[-1].event == "complete"


async def test_deliveries_are_counted(serve: Serve, receiver: Receiver) -> None:
    served = await serve(emit, webhooks=[target(receiver)])
    await served.start()

    async def metrics() -> str:
        async with served.client.get("/metrics") as response:
            return await response.text()

    text = ""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not text or metric(text, "dockrion_webhooks_total", outcome="delivered") != 1:
            text = await metrics()
        while metric(text, "dockrion_webhooks_oldest_seconds") != 0:  # as of the last look
            text = await metrics()
    assert 'outcome="failed"} 0.0' in text
    assert "dockrion_webhooks_waiting" in text
    without = await serve(emit)
    async with without.client.get("/metrics") as response:
        assert "webhook" not in await response.text()


async def test_the_end_of_a_run_at_shutdown_is_told(
    serve: Serve, receiver: Receiver, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.webhooks.service._CLOSE_SECONDS", TIMEOUT_SECONDS)
    agent = Waits()
    served = await serve(agent, webhooks=[target(receiver)])
    await served.start()
    await wait_until(lambda: agent.payloads)
    await served.client.close()
    assert receiver.received[0]["data"]["event"]["code"] == "SHUTDOWN"
    assert logged.fields("webhooks lost at the end of the process") == []


async def test_what_is_lost_with_the_memory_is_logged(
    serve: Serve, receiver: Receiver, logged: Logged
) -> None:
    await receiver.server.close()
    served = await serve(
        emit, webhooks=[{"url": "http://127.0.0.1:1/", "secret_env": "TESTS_WEBHOOK_SECRET"}]
    )
    run_id = await served.start()
    await served.finished(run_id)
    await wait_until(lambda: logged.fields("webhook not delivered"))
    await served.client.close()
    assert logged.fields("webhooks lost at the end of the process") == [{"events": 1}]


@pytest.mark.parametrize("text", ["", "not a secret", "whsec_c2hvcnQ="])
async def test_a_missing_or_malformed_secret_refuses_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Dockfile.yaml"
    path.write_text(
        "version: '1.0'\nagent: {name: tested, handler: 'tests.support:placeholder'}\n"
        "webhooks: [{url: 'https://hooks.example.com/', secret_env: THE_SECRET}]\n"
    )
    loaded = load(path, environ={"THE_SECRET": text})
    problems = loaded.credentials.missing + (await check_start(loaded)).errors
    assert len(problems) == 1
    assert "THE_SECRET" in problems[0]
    assert not text or text not in problems[0]
    app = create_app(loaded)
    app.freeze()
    with pytest.raises(StartError, match="THE_SECRET"):
        await app.startup()


async def test_the_secret_is_masked(serve: Serve, receiver: Receiver) -> None:
    async def leak(_: Any) -> Any:
        raise ValueError(f"the secret is {WEBHOOK_SECRET}")

    served = await serve(leak, webhooks=[target(receiver)])
    record = await served.finished(await served.start())
    assert WEBHOOK_SECRET not in msgspec.json.encode(record).decode()


def test_a_service_without_webhooks_does_not_load_them(tmp_path: Path) -> None:
    dockfile(tmp_path)
    code = (
        "import asyncio, os, pathlib, sys\n"
        "from dockrion.dockfile import load\n"
        "from dockrion.web.app import create_app\n"
        "async def main():\n"
        "    app = create_app(load(pathlib.Path('Dockfile.yaml'), environ={}))\n"
        "    app.freeze()\n"
        "    await app.startup()\n"
        "    await app.cleanup()\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if 'webhooks.' in name or name.endswith('.memory.outbox')])\n"
    )
    folder = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": folder, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n", done.stdout + done.stderr
