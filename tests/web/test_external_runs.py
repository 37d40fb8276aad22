"""External runs, whose events other processes push."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from dockrion.agents.external import ExternalAgent
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, data, wait_until
from tests.web.helpers import error_of
from tests.web.test_push import ALL, ENABLED, END, own, push, refused

pytestmark = pytest.mark.usefixtures("every_backend")

Impatient = Callable[[float], None]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Impatient:
    """Return a function that sets an idle timeout shorter than a Dockfile allows."""

    def give_up_after(seconds: float) -> None:
        monkeypatch.setattr("dockrion.web.ingest.ExternalAgent", lambda _seconds: ExternalAgent(seconds))

    return give_up_after


def never(_payload: Any) -> None:
    raise AssertionError("no agent may work on these runs")


async def opened(serve: Serve, **streaming: Any) -> tuple[Served, str]:
    served = await serve(never, streaming=ENABLED | streaming)
    return served, await begun(served)


async def begun(served: Served) -> str:
    """Start an external run, and wait for its slot: a replica takes all while it looks for queued runs."""
    run_id = await served.start(external="true")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await served.record(run_id))["status"] == "accepted":
            await asyncio.sleep(0.005)
    return run_id


async def last(served: Served, run_id: str) -> dict[str, Any]:
    """Return the terminal event."""
    async with served.events(run_id) as reader:
        return data((await reader.all())[-1])


async def test_external_run_is_created_like_any_other(serve: Serve) -> None:
    served = await serve(never, streaming=ENABLED)
    async with served.client.post("/runs?external=true&run_id=mine", json="anything") as response:
        assert response.status == 202
        assert response.headers["Location"] == "/runs/mine"
        assert (await response.json())["events_url"] == "/runs/mine/events"
    async with served.events("mine") as reader:
        (started,) = await reader.until("started")
        assert (started.id, data(started)["agent_name"]) == (
            "1",
            (await served.record("mine"))["metadata"]["agent"],
        )
    assert (await served.record("mine"))["status"] == "running"
    async with served.client.get("/runs?status=running") as response:
        assert [run["run_id"] for run in (await response.json())["items"]] == ["mine"]
    async with served.client.post("/runs?run_id=mine", json={}) as response:
        await error_of(response, 409, "CONFLICT")
    await push(served, "mine", END)
    assert await own(served, "mine") == []


async def test_only_external_true_creates_an_external_run(serve: Serve) -> None:
    served = await serve(lambda payload: payload, streaming=ENABLED)
    for value in ("2", "True", "yes", ""):
        async with served.client.post("/runs", params={"external": value}, json={}) as response:
            assert "external" in (await error_of(response, 400, "VALIDATION_ERROR"))["error"]
    run_id = await served.start({"of": "the agent"}, external="false")
    assert (await served.finished(run_id))["output"] == {"of": "the agent"}


async def test_complete_ends_the_run_with_output_and_metadata(serve: Serve) -> None:
    served, run_id = await opened(serve)
    end = {"type": "complete", "output": [1, {"a": None}], "metadata": {"model": "m"}, "latency_seconds": 1e9}
    assert (await push(served, run_id, [*ALL, end]))["accepted"] == len(ALL) + 1
    event, record = await last(served, run_id), await served.finished(run_id)
    assert (record["status"], record["output"], record["error"]) == ("completed", end["output"], None)
    assert event["output"] == end["output"]
    assert event["metadata"] == record["metadata"]
    assert record["metadata"].items() >= {"model": "m", "framework": "custom"}.items()
    assert 0 <= event["latency_seconds"] < 60
    assert await own(served, run_id) == ALL


async def test_complete_may_have_no_output(serve: Serve) -> None:
    served, run_id = await opened(serve)
    await push(served, run_id, {"type": "complete", "metadata": None})
    assert (await last(served, run_id))["output"] is None
    assert (await served.finished(run_id))["status"] == "completed"


async def test_pushed_metadata_cannot_override_the_service_s(serve: Serve) -> None:
    served, run_id = await opened(serve)
    forged = {"agent": "other", "framework": "other", "producer_seq": 9, "output_errors": []}
    await push(served, run_id, {"type": "complete", "metadata": forged}, producer_seq=1)
    metadata = (await served.finished(run_id))["metadata"]
    assert metadata["producer_seq"] == 1
    assert metadata["framework"] == "custom"
    await refused(served, run_id, END, producer_seq=9)


async def test_error_ends_the_run_with_code_and_details(serve: Serve) -> None:
    served, run_id = await opened(serve)
    fields = {"error": "no luck", "code": "MY_CODE", "details": {"at": [1]}}
    await push(served, run_id, {"type": "error", **fields})
    assert (await last(served, run_id)).items() >= fields.items()
    record = await served.finished(run_id)
    assert (record["status"], record["error"], record["output"]) == ("failed", fields, None)


async def test_error_without_a_code_is_an_agent_error(serve: Serve) -> None:
    served, run_id = await opened(serve)
    await push(served, run_id, {"type": "error", "error": "at /home/me/secret.py: " + "x" * 10_000})
    error = (await served.finished(run_id))["error"]
    assert (error["code"], error["details"]) == ("AGENT_EXECUTION_ERROR", None)
    assert error["error"].startswith("at <path>: x")
    assert len(error["error"]) <= 4000


@pytest.mark.parametrize("reason", ["enough", None])
async def test_cancelled_ends_the_run_with_its_reason(serve: Serve, reason: str | None) -> None:
    served, run_id = await opened(serve)
    await push(served, run_id, {"type": "cancelled", "reason": reason})
    assert (await last(served, run_id))["reason"] == reason
    record = await served.finished(run_id)
    assert (record["status"], record["metadata"]["reason"]) == ("cancelled", reason)


async def test_invalid_output_is_reported_in_the_metadata(serve: Serve) -> None:
    served = await serve(never, streaming=ENABLED, io_schema={"output": {"type": "object"}})
    run_id = await served.start(external="true")
    await push(served, run_id, {"type": "complete", "output": 1, "metadata": {"model": "m"}})
    metadata = (await served.finished(run_id))["metadata"]
    assert metadata["output_errors"]
    assert metadata.get("model") == "m"


async def test_idle_timeout_ends_the_run(serve: Serve, impatient: Impatient) -> None:
    impatient(0.05)
    served, run_id = await opened(serve)
    event = await last(served, run_id)
    assert (event["type"], event["code"]) == ("error", "PRODUCER_TIMEOUT")
    assert (await served.finished(run_id))["status"] == "failed"
    await refused(served, run_id, ALL)


@pytest.mark.parametrize("event", [ALL[4], ALL[1]], ids=["heartbeat", "filtered"])
async def test_any_event_restarts_the_idle_timeout(
    serve: Serve, impatient: Impatient, event: dict[str, Any]
) -> None:
    impatient(1.0)
    served, active = await opened(serve, events={"allowed": ["heartbeat"]})
    await push(served, active, event)
    idle = await served.start(external="true")
    await push(served, active, event)
    ended = []
    for run_id in (active, idle):
        assert (await last(served, run_id))["code"] == "PRODUCER_TIMEOUT"
        ended.append(datetime.fromisoformat((await served.finished(run_id))["completed_at"]))
    assert ended == sorted(ended, reverse=True)  # the other one was started between the events


async def test_refused_events_do_not_restart_the_idle_timeout(serve: Serve, impatient: Impatient) -> None:
    impatient(0.3)
    served, run_id = await opened(serve)

    async def ended() -> bool:
        async with served.client.post(f"/runs/{run_id}/events", json={"type": "odd"}) as response:
            assert response.status == 400
        return bool((await served.record(run_id))["status"] == "failed")

    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await ended():
            await asyncio.sleep(0.01)


async def test_cancel_ends_the_run(serve: Serve) -> None:
    served, run_id = await opened(serve)
    await push(served, run_id, ALL)
    async with served.client.delete(f"/runs/{run_id}", params={"reason": "enough"}) as response:
        assert response.status == 200
    assert (await last(served, run_id)).items() >= {"type": "cancelled", "reason": "enough"}.items()
    assert await own(served, run_id) == ALL
    await refused(served, run_id, ALL)


async def test_duration_of_an_external_run_is_limited(serve: Serve) -> None:
    served = await serve(never, streaming=ENABLED)
    executor = served.service.runs._executor
    executor._settings = replace(executor._settings, max_run_duration=0.05)
    run_id = await served.start(external="true")
    assert (await last(served, run_id))["code"] == "TIMEOUT_ERROR"


async def test_shutdown_grants_producers_the_grace_period(serve: Serve) -> None:
    served, run_id = await opened(serve)
    other = await served.start(external="true")
    draining = asyncio.create_task(served.service.drain(TIMEOUT_SECONDS))
    await wait_until(lambda: served.service.runs.draining)
    for query in ("?external=true", ""):
        async with served.client.post(f"/runs{query}", json={}) as response:
            await error_of(response, 503, "SERVICE_UNAVAILABLE")
            assert response.headers["Retry-After"]
    await push(served, run_id, [*ALL, END])
    assert (await served.finished(run_id))["status"] == "completed"
    await served.service.drain(0)
    await draining
    assert await own(served, run_id) == ALL
    assert (await last(served, other))["code"] == "SHUTDOWN"


async def test_external_run_occupies_a_slot(serve: Serve) -> None:
    one: dict[str, Any] = {"max_concurrent_runs": 1, "max_queued_runs": 1}
    served = await serve(lambda payload: payload, streaming=ENABLED | one)
    external = await begun(served)
    ordinary = await served.start("next")
    for query in ("?external=true", ""):
        async with served.client.post(f"/runs{query}", json={}) as response:
            await error_of(response, 429, "TOO_MANY_RUNS")
    assert (await served.record(ordinary))["status"] == "accepted"
    await push(served, external, END)
    assert (await served.finished(ordinary))["output"] == "next"
    await wait_until(lambda: not served.service.runs._in_flight)
    again = await begun(served)
    await push(served, again, END)
    assert await own(served, again) == []


async def test_run_cancelled_while_queued_accepts_no_events(serve: Serve) -> None:
    served, run_id = await opened(serve, max_concurrent_runs=1)
    waiting = await served.start(external="true")
    async with served.client.delete(f"/runs/{waiting}") as response:
        assert response.status == 200
    await refused(served, waiting, ALL)
    await push(served, run_id, END)
    await served.finished(run_id)


async def test_concurrent_external_runs_do_not_mix(serve: Serve) -> None:
    served = await serve(never, streaming=ENABLED)

    async def feed(name: str) -> None:
        await served.start(external="true", run_id=name)
        mine = {"type": "custom:mine", "of": name}
        for number in range(1, 11):
            await push(served, name, [mine] * number, producer_seq=number)
        await push(served, name, END, producer_seq=11)
        assert await own(served, name) == [mine] * 55

    await asyncio.gather(*map(feed, (f"run-{n}" for n in range(20))))
    await wait_until(partial(_idle, served))


def _idle(served: Served) -> bool:
    return not served.service.runs._in_flight._by_id
