"""Every endpoint's status, headers and body, key by key."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dockrion
from tests.conftest import Serve
from tests.support import Served

SCHEMAS = {"input": {"properties": {"n": {"type": "integer"}}}, "output": {"type": "array", "items": {}}}
AGENT = {"name": "tested", "description": "Tests <b>", "handler": "tests.support:placeholder"}


async def body_of(served: Served, path: str) -> dict[str, Any]:
    async with served.client.get(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        return dict(await answer.json())


def is_now(text: str) -> bool:
    return text.endswith("Z") and abs(datetime.now(UTC) - datetime.fromisoformat(text)) < timedelta(minutes=1)


async def test_health(serve: Serve) -> None:
    body = await body_of(await serve(), "/health")
    assert is_now(body.pop("timestamp"))
    assert body == {
        "status": "ok",
        "service": "runtime:tested",
        "version": dockrion.__version__,
        "agent": "tested",
        "framework": "custom",
    }


async def test_ready(serve: Serve) -> None:
    body = await body_of(await serve(), "/ready")
    assert body == {"success": True, "status": "ready", "agent": "tested"}


async def test_metrics_are_prometheus_text(serve: Serve) -> None:
    served = await serve()
    async with served.client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "# TYPE dockrion_requests_total counter" in await answer.text()


async def test_schema(serve: Serve) -> None:
    body = await body_of(await serve(io_schema=SCHEMAS), "/schema")
    assert body == {
        "success": True,
        "agent": "tested",
        "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "output_schema": {"type": "array", "items": {}},
        "threads": False,
    }


async def test_schema_without_schemas(serve: Serve) -> None:
    body = await body_of(await serve(), "/schema")
    assert (body["input_schema"], body["output_schema"]) == (None, None)


async def test_info(serve: Serve) -> None:
    metadata = {"maintainer": "Ada", "version": "3", "tags": ["a", "b"], "team": {"kept": True}}
    body = await body_of(await serve(agent=AGENT, metadata=metadata, auth={"mode": "none"}), "/info")
    assert body == {
        "success": True,
        "agent": {
            "name": "tested",
            "description": "Tests <b>",
            "framework": "custom",
            "mode": "handler",
            "target": "tests.support:placeholder",
        },
        "role": "all",
        "auth_enabled": False,
        "version": dockrion.__version__,
        "metadata": metadata,
        "endpoints": body["endpoints"],
        "protocols": [],
        "heartbeat_interval": 15,
    }
    assert {"POST /invoke/stream", "GET /runs/{run_id}/events", "GET /"} <= set(body["endpoints"])
    assert body["endpoints"] == sorted(body["endpoints"])


async def test_info_names_the_protocols(serve: Serve) -> None:
    body = await body_of(await serve(expose={"protocols": ["openai"]}), "/info")
    assert body["protocols"] == ["openai"]
    assert "GET /v1/models" in body["endpoints"]


async def test_info_lists_existing_endpoints_only(serve: Serve) -> None:
    served = await serve(expose={"streaming": "none"}, streaming={"async_runs": False})
    body = await body_of(served, "/info")
    assert not [name for name in body["endpoints"] if "stream" in name or "runs" in name]


async def test_invoke(serve: Serve) -> None:
    served = await serve()
    async with served.client.post("/invoke", json={"n": 1}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        body = await answer.json()
    latency = body["metadata"].pop("latency_seconds")
    assert 0 <= latency < 60
    assert body == {
        "success": True,
        "output": {"n": 1},
        "metadata": {"agent": "tested", "framework": "custom"},
    }


async def test_creating_a_run(serve: Serve) -> None:
    served = await serve()
    async with served.client.post("/runs", json={}) as answer:
        assert answer.status == 202
        body = await answer.json()
        run_id = body["run_id"]
        assert answer.headers["Location"] == f"/runs/{run_id}"
    assert is_now(body.pop("created_at"))
    assert body == {"run_id": run_id, "status": "accepted", "events_url": f"/runs/{run_id}/events"}


async def test_record_of_a_completed_run(serve: Serve) -> None:
    served = await serve()
    run_id = await served.start({"n": 1})
    record = await served.finished(run_id)
    times = [record.pop(name) for name in ("created_at", "started_at", "completed_at")]
    assert all(map(is_now, times))
    assert times == sorted(times, key=datetime.fromisoformat)
    assert record == {
        "run_id": run_id,
        "status": "completed",
        "input": {"n": 1},
        "output": {"n": 1},
        "error": None,
        "metadata": {"agent": "tested", "framework": "custom"},
        "last_sequence": 2,
        "attempt": 1,
        "waiting_for": None,
    }


async def test_listing(serve: Serve) -> None:
    served = await serve()
    run_id = await served.start()
    await served.finished(run_id)
    body = await body_of(served, "/runs")
    assert body.keys() == {"items", "next"}
    assert body["next"] is None
    (item,) = body["items"]
    record = await served.record(run_id)
    del record["input"], record["output"]  # only in the record of the run
    assert item == record | {"input_excerpt": "{}", "truncated": False}


async def test_stream_of_the_caller_names_its_run(serve: Serve) -> None:
    served = await serve()
    async with served.stream() as reader:
        await reader.all()
    assert (await served.record(reader.run_id))["status"] == "completed"
    assert reader.response.headers["Location"] == f"/runs/{reader.run_id}/events"


async def test_every_response_hides_the_server_versions(serve: Serve) -> None:
    served = await serve()
    for path in ("/health", "/nowhere"):
        async with served.client.get(path) as answer:
            assert answer.headers["Server"] == "dockrion"
