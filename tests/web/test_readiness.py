"""`GET /ready?verbose`: the state of each dependency, since when, and who may see it."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dockrion.backends.memory import MemoryBackend
from dockrion.web import readiness
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.credentials import api_keys
from tests.web.helpers import Waits, error_of
from tests.web.test_webhooks import emit

ALWAYS = {"process", "agent", "lifespan", "backend", "queue"}
AWAY = {"backend": "redis", "redis": {"url": "redis://user:of-redis@127.0.0.1:1/0"}}


async def report(served: Served, status: int = 200) -> dict[str, Any]:
    """Return the dependencies, by name."""
    async with served.client.get("/ready?verbose") as response:
        if status == 200:
            assert response.status == 200
            body = await response.json()
            assert (body["success"], body["status"]) == (True, "ready")
        else:
            body = (await error_of(response, status, "SERVICE_UNAVAILABLE"))["details"]
        dependencies: dict[str, Any] = body["dependencies"]
    for each in dependencies.values():
        since = datetime.fromisoformat(each["since"])
        assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=5)
    return dependencies


def states(dependencies: dict[str, Any]) -> dict[str, str]:
    return {name: each["state"] for name, each in dependencies.items()}


async def test_each_dependency_has_a_state_since_some_time(serve: Serve) -> None:
    served = await serve()
    first = await report(served)
    assert states(first) == dict.fromkeys(ALWAYS, "up")
    assert 0 <= first["backend"]["latency_seconds"] < TIMEOUT_SECONDS
    assert (first["queue"]["waiting"], first["queue"]["oldest_seconds"]) == (0, 0)
    again = await report(served)
    assert {name: each["since"] for name, each in first.items()} == {
        name: each["since"] for name, each in again.items()
    }


async def test_without_verbose_there_is_nothing_of_it(serve: Serve) -> None:
    served = await serve()
    for query in ("", "?verbose=false", "?verbose=0"):
        async with served.client.get(f"/ready{query}") as response:
            assert await response.json() == {"success": True, "status": "ready", "agent": "tested"}
    async with served.client.get("/ready?verbose=maybe") as response:
        await error_of(response, 400, "VALIDATION_ERROR")


async def test_callers_who_may_not_view_metrics_learn_nothing(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(**mode.sections(tmp_path))
        async with served.client.get("/ready?verbose") as response:
            await error_of(response, 401, "AUTH_ERROR")
        async with served.client.get("/ready?verbose", headers=mode.key("worker")) as response:
            await error_of(response, 403, "FORBIDDEN")
        async with served.client.get("/ready?verbose", headers=mode.key("operator")) as response:
            assert (await response.json())["dependencies"].keys() == ALWAYS
        async with served.client.get("/ready") as response:
            assert response.status == 200
        public = await serve(**mode.sections(tmp_path, public=["metrics"]))
        assert (await report(public)).keys() == ALWAYS


async def test_shutdown_is_a_state(serve: Serve) -> None:
    served = await serve()
    await served.service.drain(0)
    assert states(await report(served, 503)) == dict.fromkeys(ALWAYS, "up") | {"process": "draining"}


async def test_unreachable_redis_is_away_without_its_address(serve: Serve) -> None:
    served = await serve(streaming=AWAY)
    await wait_until(lambda: served.service.backend.dependency.state == "away")
    dependencies = await report(served, 503)
    assert states(dependencies) == dict.fromkeys(ALWAYS, "up") | {"backend": "away", "queue": "away"}
    assert (
        dependencies["backend"]["reason"]
        == "no connection, or no reply; is it running, and is the address right?"
    )
    assert "latency_seconds" not in dependencies["backend"]
    assert "waiting" not in dependencies["queue"]


@pytest.mark.usefixtures("redis_backend")
async def test_redis_that_responds_is_up(serve: Serve) -> None:
    dependencies = await report(await serve())
    assert states(dependencies) == dict.fromkeys(ALWAYS, "up")
    assert dependencies["backend"]["latency_seconds"] > 0


async def test_agent_process_is_checked(serve: Serve, tmp_path: Path) -> None:
    agent = {"name": "tested", "framework": "custom", "url": f"unix:{tmp_path}/agent:/invoke"}
    served = await serve(agent=agent)
    away = (await report(served, 503))["agent_process"]
    assert away["state"] == "away"
    assert str(tmp_path) not in str(away)
    process = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), tmp_path / "agent")
    up = (await report(served))["agent_process"]
    assert up["state"] == "up"
    assert up["since"] > away["since"]
    assert "reason" not in up
    process.close()


async def test_closed_agent_is_a_failed_lifespan(serve: Serve) -> None:
    served = await serve()
    lifespan: Any = served.service._lifespan
    lifespan.broken = True
    assert states(await report(served, 503)) == dict.fromkeys(ALWAYS, "up") | {"lifespan": "failed"}


async def test_full_queue_is_a_state(serve: Serve) -> None:
    served = await serve(waits := Waits(), streaming={"max_concurrent_runs": 1, "max_queued_runs": 1})
    for _ in range(2):
        await served.start()
    queue = (await report(served))["queue"]
    assert (queue["state"], queue["waiting"], queue["reason"]) == ("full", 1, "new runs get 429")
    assert queue["oldest_seconds"] >= 0
    waits.go.set()
    await wait_until(lambda: not served.service.runs._in_flight)
    assert (await report(served))["queue"]["state"] == "up"


async def test_webhooks_that_wait_for_long_are_degraded(serve: Serve) -> None:
    hooks = [{"url": "http://127.0.0.1:1/", "secret_env": "TESTS_WEBHOOK_SECRET"}]
    served = await serve(emit, webhooks=hooks)
    assert (await report(served))["webhooks"]["state"] == "up"
    deliverer: Any = served.service.webhooks and served.service.webhooks._deliverer
    await deliverer._listeners.cancel_until_done()  # it counts no more
    deliverer.waiting, deliverer.oldest_seconds = 3, 61.0
    shown = (await report(served))["webhooks"]
    assert (shown["state"], shown["waiting"], shown["oldest_seconds"]) == ("degraded", 3, 61)


async def test_token_issuer_has_the_state_of_its_last_response(serve: Serve) -> None:
    oauth2 = {"introspection_url": "http://127.0.0.1:1/"}
    served = await serve(auth={"mode": "oauth2", "oauth2": oauth2, "public": ["metrics"]})
    unused = (await report(served))["token_issuer"]
    assert unused["state"] == "unused"
    async with served.client.get("/info", headers={"Authorization": "Bearer abc"}) as response:
        await error_of(response, 503, "SERVICE_UNAVAILABLE")
    away = (await report(served))["token_issuer"]
    assert away["state"] == "away"
    assert away["since"] > unused["since"]
    assert "127.0.0.1" not in str(away)


async def test_report_is_bounded_in_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve()
    asked = 0

    async def hang(_backend: MemoryBackend) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()

    monkeypatch.setattr(readiness, "_REPORT_SECONDS", 0.05)
    monkeypatch.setattr(MemoryBackend, "ping", hang)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert "latency_seconds" not in (await report(served))["backend"]


async def test_documented_responses(serve: Serve, tmp_path: Path) -> None:
    async def documented(served: Served, **headers: str) -> dict[str, Any]:
        async with served.client.get("/openapi.json", headers=headers) as response:
            operation: dict[str, Any] = (await response.json())["paths"]["/ready"]["get"]
        assert "verbose" in [parameter["name"] for parameter in operation["parameters"]]
        return operation

    assert not {"401", "403"} & (await documented(await serve()))["responses"].keys()
    async with api_keys() as mode:
        served = await serve(**mode.sections(tmp_path))
        operation = await documented(served, **mode.key("scribe"))
    assert {"401", "403"} <= operation["responses"].keys()
