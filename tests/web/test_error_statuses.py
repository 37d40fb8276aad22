"""Errors that depend on the state of the service and its runs."""

import asyncio
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import data, wait_until
from tests.web.helpers import Waits, error_of, shows_no_inside

NEW_WORK = ["/invoke", "/invoke/stream", "/runs"]


async def failing(payload: object) -> None:
    raise ValueError(f"cannot open '/etc/agents/config.yaml' and /srv/agent/main.py for {payload}")


async def many_tokens(_payload: object, context: StreamContext) -> None:
    for number in range(50):
        await context.emit_token(str(number))


async def test_existing_run_id_is_a_conflict_with_its_events_url(serve: Serve) -> None:
    served = await serve()
    await served.start(run_id="mine")
    async with served.client.post("/runs", json={"n": 2}, params={"run_id": "mine"}) as response:
        body = await error_of(response, 409, "CONFLICT")
    assert body["details"] == {"run_id": "mine", "events_url": "/runs/mine/events"}


async def test_conflict_does_not_affect_the_existing_run(serve: Serve) -> None:
    served = await serve(agent := Waits())
    await served.start({"n": 1}, run_id="mine")
    async with served.client.post("/runs", json={"n": 2}, params={"run_id": "mine"}) as response:
        assert response.status == 409
    agent.go.set()
    assert (await served.finished("mine"))["status"] == "completed"
    assert agent.ended == [{"n": 1}]


async def test_client_id_is_refused_where_not_allowed(serve: Serve) -> None:
    served = await serve(streaming={"allow_client_ids": False})
    async with served.client.post("/runs", json={}, params={"run_id": "mine"}) as response:
        await error_of(response, 400, "VALIDATION_ERROR")
    assert await served.start()


@pytest.mark.parametrize(
    ("asked", "requested"), [({}, 1), ({"from_sequence": "5"}, 5), ({"from_sequence": "42"}, 42)]
)
async def test_strict_reader_of_dropped_events_gets_410(
    serve: Serve, asked: dict[str, str], requested: int
) -> None:
    served = await serve(many_tokens, streaming={"redis": {"max_events_per_run": 10}})
    run_id = await served.start()
    await served.finished(run_id)
    query = {"strict": "true", **asked}
    async with served.client.get(f"/runs/{run_id}/events", params=query) as response:
        body = await error_of(response, 410, "GONE")
    assert body["details"] == {"requested": requested, "first_available": 43}


async def test_strict_reader_at_a_position_that_the_run_never_reached_gets_410(serve: Serve) -> None:
    served = await serve(many_tokens)
    run_id = await served.start()
    await served.finished(run_id)
    query, headers = {"strict": "true"}, {"Last-Event-ID": "53"}
    async with served.client.get(f"/runs/{run_id}/events", params=query, headers=headers) as response:
        body = await error_of(response, 410, "GONE")
    assert body["details"] == {"requested": 54, "first_available": 1}
    assert (
        body["error"]
        == "this run has never had event 54, another run with its id may have; read from event 1"
    )


async def test_strict_reader_of_stored_events_gets_them(serve: Serve) -> None:
    served = await serve(many_tokens, streaming={"redis": {"max_events_per_run": 10}})
    run_id = await served.start()
    await served.finished(run_id)
    async with served.events(run_id, strict="true", from_sequence=43) as reader:
        assert [int(message.id or 0) for message in await reader.all()] == list(range(43, 53))


async def test_subscriber_over_the_limit_gets_retry_after(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"connection": {"max_subscribers_per_run": 2}})
    run_id = await served.start()
    async with served.events(run_id) as first, served.events(run_id) as second:
        async with served.client.get(f"/runs/{run_id}/events") as response:
            await error_of(response, 429, "TOO_MANY_SUBSCRIBERS")
            assert int(response.headers["Retry-After"]) > 0
        agent.go.set()
        assert await first.all() == await second.all()
    async with served.events(run_id) as third:
        assert (await third.all())[-1].event == "complete"


async def test_caller_of_a_stream_counts_as_a_subscriber(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"connection": {"max_subscribers_per_run": 1}})
    async with served.stream() as caller:
        await caller.until("token")
        async with served.client.get(f"/runs/{caller.run_id}/events") as response:
            await error_of(response, 429, "TOO_MANY_SUBSCRIBERS")
        agent.go.set()
        assert (await caller.all())[-1].event == "complete"


@pytest.mark.parametrize("path", NEW_WORK)
async def test_full_queue_refuses_new_work(serve: Serve, path: str) -> None:
    served = await serve(agent := Waits(), streaming={"max_concurrent_runs": 1, "max_queued_runs": 1})
    runs = [await served.start(), await served.start()]
    async with served.client.post(path, json={}) as response:
        await error_of(response, 429, "TOO_MANY_RUNS")
        assert int(response.headers["Retry-After"]) > 0
    agent.go.set()
    assert [(await served.finished(run_id))["status"] for run_id in runs] == ["completed", "completed"]


async def test_exception_is_an_error_without_paths(serve: Serve) -> None:
    served = await serve(failing)
    async with served.client.post("/invoke", json={}) as response:
        body = await error_of(response, 500, "AGENT_EXECUTION_ERROR")
    assert body["error"].startswith("ValueError: cannot open")
    assert shows_no_inside(str(body))


async def test_exception_fails_a_run_without_paths(serve: Serve) -> None:
    served = await serve(failing)
    async with served.stream() as reader:
        last = data((await reader.all())[-1])
    assert last["type"] == "error"
    assert last["code"] == "AGENT_EXECUTION_ERROR"
    assert last["error"].startswith("ValueError: cannot open")
    assert shows_no_inside(reader.raw.decode())
    record = await served.record(reader.run_id)
    assert record["status"] == "failed"
    assert record["error"] == {name: last[name] for name in ("error", "code", "details")}


async def test_output_that_cannot_be_json_is_an_error_of_invoke(serve: Serve) -> None:
    served = await serve(lambda _payload: {"items": [object()]})
    async with served.client.post("/invoke", json={}) as response:
        body = await error_of(response, 500, "INVALID_OUTPUT")
    assert "output.items[0]" in body["error"]


async def test_output_that_cannot_be_json_fails_the_run(serve: Serve) -> None:
    served = await serve(lambda _payload: {"items": [object()]})
    record = await served.finished(await served.start())
    assert record["status"] == "failed"
    assert record["error"]["code"] == "INVALID_OUTPUT"


@pytest.mark.parametrize("path", NEW_WORK)
async def test_new_work_waits_for_the_agent_to_be_loaded(serve: Serve, path: str) -> None:
    served = await serve()
    served.service.runs.agent = None
    async with served.client.post(path, json={}) as response:
        await error_of(response, 503, "SERVICE_UNAVAILABLE")
        assert int(response.headers["Retry-After"]) > 0


async def test_not_ready_but_healthy_until_the_agent_is_loaded(serve: Serve) -> None:
    served = await serve()
    served.service.runs.agent = None
    async with served.client.get("/ready") as response:
        body = await error_of(response, 503, "SERVICE_UNAVAILABLE")
        assert int(response.headers["Retry-After"]) > 0
    assert "load" in body["error"]
    async with served.client.get("/health") as response:
        assert response.status == 200


async def test_not_ready_but_healthy_when_a_task_of_the_agent_has_failed(serve: Serve) -> None:
    served = await serve()
    lifespan = served.service._lifespan
    assert lifespan is not None
    lifespan._task.cancel()  # as a task group does that the agent entered at start
    await wait_until(lambda: lifespan.broken)
    async with served.client.get("/ready") as response:
        body = await error_of(response, 503, "SERVICE_UNAVAILABLE")
    assert "opened at start is closed" in body["error"]
    async with served.client.get("/health") as response:
        assert response.status == 200


@pytest.mark.parametrize("path", NEW_WORK)
async def test_new_work_is_refused_while_draining(serve: Serve, path: str) -> None:
    served = await serve(agent := Waits())
    run_id = await served.start()
    drained = asyncio.create_task(served.service.drain(10))
    await wait_until(lambda: served.service.runs.draining)
    async with served.client.post(path, json={}) as response:
        await error_of(response, 503, "SERVICE_UNAVAILABLE")
        assert int(response.headers["Retry-After"]) > 0
    agent.go.set()
    await drained
    assert (await served.record(run_id))["status"] == "completed"


async def test_not_ready_but_healthy_while_draining(serve: Serve) -> None:
    served = await serve()
    await served.service.drain(0)
    async with served.client.get("/ready") as response:
        body = await error_of(response, 503, "SERVICE_UNAVAILABLE")
        assert int(response.headers["Retry-After"]) > 0
    assert "shutting down" in body["error"]
    async with served.client.get("/health") as response:
        assert response.status == 200


async def test_invoke_ended_by_shutdown_gets_retry_after(serve: Serve) -> None:
    served = await serve(agent := Waits())
    pending = asyncio.create_task(served.client.post("/invoke", json={}))
    await wait_until(lambda: agent.payloads)
    await served.service.drain(0)
    async with await pending as response:
        await error_of(response, 503, "SERVICE_UNAVAILABLE")
        assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/runs/r/events", "/invoke/stream"])
async def test_shutdown_after_the_grace_period_ends_streams_with_an_error(serve: Serve, path: str) -> None:
    served = await serve(agent := Waits())
    stream = served.stream() if path == "/invoke/stream" else None
    if stream is None:
        await served.start(run_id="r")
        stream = served.events("r")
    async with stream as reader:
        await wait_until(lambda: agent.payloads)
        await served.service.drain(0)
        last = (await reader.all())[-1]
    assert last.event == "error"
    assert data(last)["code"] == "SHUTDOWN"
    assert agent.stopped


async def test_timed_out_invoke_stops_the_agent(serve: Serve) -> None:
    served = await serve(agent := Waits(), arguments={"timeout_sec": 0.2})
    async with served.client.post("/invoke", json={}) as response:
        await error_of(response, 504, "TIMEOUT_ERROR")
    await wait_until(lambda: agent.stopped)


async def test_queueing_counts_towards_the_timeout_of_invoke(serve: Serve) -> None:
    limits: dict[str, Any] = {"arguments": {"timeout_sec": 0.2}, "streaming": {"max_concurrent_runs": 1}}
    served = await serve(agent := Waits(), **limits)
    run_id = await served.start({"n": 1})
    async with served.client.post("/invoke", json={"n": 2}) as response:
        await error_of(response, 504, "TIMEOUT_ERROR")
    agent.go.set()
    assert (await served.finished(run_id))["status"] == "completed"
    assert agent.payloads == [{"n": 1}]


async def test_zero_timeout_means_none(serve: Serve) -> None:
    served = await serve(agent := Waits(), arguments={"timeout_sec": 0})
    pending = asyncio.create_task(served.client.post("/invoke", json={}))
    await wait_until(lambda: agent.payloads)
    agent.go.set()
    async with await pending as response:
        assert response.status == 200
