"""The log: one line per request and per status change of a run, none per event."""

import logging
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import wait_until
from tests.web.credentials import api_keys
from tests.web.helpers import Waits
from tests.web.wire import wire


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="dockrion")


def requests(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if record.getMessage() == "request"]


def lines_of(caplog: pytest.LogCaptureFixture, run_id: str) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if vars(record).get("fields", {}).get("run_id") == run_id and record.getMessage() != "request"
    ]


async def talks(_payload: Any, context: StreamContext) -> None:
    for _ in range(500):
        await context.emit_token("text")


async def test_request_is_logged_in_one_line(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve()
    began = time.perf_counter()
    async with served.client.post("/invoke?a=secret", json={}, headers={"User-Agent": "tests"}) as response:
        assert response.status == 200
    (line,) = requests(caplog)
    assert 0 <= line.pop("seconds") < time.perf_counter() - began
    assert UUID(line.pop("run_id")).version == 7
    assert line == {
        "method": "POST",
        "path": "/invoke",
        "status": 200,
        "client": "127.0.0.1",
        "caller": None,
        "user_agent": "tests",
    }


async def test_log_lines_name_the_run_that_a_body_names(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(expose={"protocols": ["a2a"]})
    await served.finished(run_id := await served.start())
    caplog.clear()
    asked = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": run_id}}
    async with served.client.post("/a2a", json=asked) as response:
        assert (await response.json())["result"]["id"] == run_id
    assert [line["run_id"] for line in requests(caplog)] == [run_id]


async def test_log_lines_name_the_caller(
    serve: Serve, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    async with api_keys() as mode:
        served = await serve(**mode.sections(tmp_path))
        for headers in (mode.key("owner"), mode.wrong["wrong"]):
            async with served.client.get("/runs", headers=headers):
                pass
    assert [line["caller"] for line in requests(caplog)] == ["owner", None]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", "/health", 405), ("POST", "/invoke", 400)],
)
async def test_failed_request_is_logged_in_one_line(
    serve: Serve, caplog: pytest.LogCaptureFixture, method: str, path: str, status: int
) -> None:
    served = await serve()
    async with served.client.request(method, path, skip_auto_headers=["Content-Type"]) as response:
        assert response.status == status
    (line,) = requests(caplog)
    assert (line["method"], line["path"], line["status"]) == (method, path, status)


async def test_log_lines_name_the_run(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve()
    async with served.stream() as reader:
        await reader.all()
    await served.start(run_id="r")
    await served.finished("r")
    async with served.events("r") as reader_b:
        await reader_b.all()
    await wait_until(lambda: any(line["path"] == "/runs/r/events" for line in requests(caplog)))
    named = {line["path"]: line["run_id"] for line in requests(caplog)}
    assert named == {"/invoke/stream": reader.run_id, "/runs": "r", "/runs/r": "r", "/runs/r/events": "r"}


async def test_events_are_not_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve(talks)
    async with served.stream() as reader:
        await reader.all()
    await wait_until(lambda: requests(caplog))
    assert len(caplog.records) < 10


async def test_status_changes_of_a_run_are_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve()
    run_id = await served.start()
    await served.finished(run_id)
    assert lines_of(caplog, run_id) == ["run accepted", "run running", "run completed"]


async def test_failure_is_logged_with_its_traceback(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def agent(_payload: Any) -> None:
        raise ValueError("in /srv/agent.py")

    served = await serve(agent)
    run_id = await served.start()
    await served.finished(run_id)
    (record,) = (record for record in caplog.records if record.getMessage() == "run failed")
    assert record.levelname == "WARNING"
    assert vars(record)["fields"]["run_id"] == run_id
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "in /srv/agent.py"


async def test_cancel_is_logged_with_its_reason(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve(Waits())
    run_id = await served.start()
    async with served.client.delete(f"/runs/{run_id}", params={"reason": "enough"}):
        pass
    (record,) = (record for record in caplog.records if record.getMessage() == "run cancelled")
    assert vars(record)["fields"]["reason"] == "enough"


async def test_disconnected_caller_is_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve(agent := Waits())
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke", body=b"{}")
        await wait_until(lambda: agent.payloads)
        connection.reset()
        await wait_until(lambda: requests(caplog))
    (line,) = requests(caplog)
    assert line["status"] == 499
