"""`Idempotency-Key` on `/invoke`: whoever asks again gets the outcome of the same work."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from dockrion.backends.owner_messages import RunRef
from dockrion.errors import RunNotFound
from dockrion.web import idempotency
from tests.backends.conformance import forget
from tests.conftest import Serve
from tests.support import wait_until
from tests.web.helpers import Waits
from tests.web.repeating import EVERY_BACKEND, Counts, ask, claims
from tests.web.test_ownership import replicas


@EVERY_BACKEND
async def test_invocation_under_way_is_waited_for(serve: Serve) -> None:
    here, there = await replicas(serve, agent := Waits())
    first = asyncio.create_task(ask(here, "/invoke"))
    await wait_until(lambda: agent.payloads)
    second = asyncio.create_task(ask(there, "/invoke"))
    await wait_until(lambda: there.service.invocations._deadlines)
    agent.go.set()
    assert (await first).body == (await second).body
    assert (await second).replayed
    assert len(agent.payloads) == 1


async def test_invocation_goes_on_without_its_caller(serve: Serve) -> None:
    served = await serve(agent := Waits())
    first = asyncio.create_task(ask(served, "/invoke"))
    await wait_until(lambda: agent.payloads)
    first.cancel()
    await wait_until(lambda: not served.service.invocations._deadlines)
    second = asyncio.create_task(ask(served, "/invoke"))
    agent.go.set()
    assert (await second).body["output"] == {"done": True}
    assert not agent.stopped
    assert len(agent.payloads) == 1


@EVERY_BACKEND
async def test_invocation_with_a_key_answers_as_without(serve: Serve) -> None:
    served = await serve(lambda payload: payload["x"], io_schema={"output": {"type": "object"}})
    async with served.client.post("/invoke", json={"x": [1]}) as response:
        plain = await response.json()
    keyed = (await ask(served, "/invoke", {"x": [1]})).body
    for body in (plain, keyed):
        assert body["metadata"].pop("latency_seconds") >= 0
    assert plain == keyed
    assert list(plain["metadata"]) == list(keyed["metadata"])


@EVERY_BACKEND
async def test_error_of_an_invocation_is_repeated(serve: Serve) -> None:
    payloads: list[Any] = []

    def fails(payload: Any) -> None:
        payloads.append(payload)
        raise KeyError("a")

    here, there = await replicas(serve, fails)
    first, second = await ask(here, "/invoke"), await ask(there, "/invoke")
    assert first.body == second.body
    assert (first.status, second.status, first.body["code"]) == (500, 500, "AGENT_EXECUTION_ERROR")
    assert second.replayed
    assert len(payloads) == 1


async def test_timeout_of_an_invocation_is_repeated(serve: Serve) -> None:
    served = await serve(agent := Waits(), arguments={"timeout_sec": 1})
    first, second = await asyncio.gather(ask(served, "/invoke"), ask(served, "/invoke"))
    third = await ask(served, "/invoke")
    assert first.status == second.status == third.status == 504
    assert first.body == second.body == third.body
    assert third.replayed
    assert len(agent.payloads) == len(agent.stopped) == 1


@EVERY_BACKEND
async def test_wait_for_a_slot_counts_towards_the_timeout(serve: Serve) -> None:
    served = await serve(agent := Waits(), arguments={"timeout_sec": 1}, streaming={"max_concurrent_runs": 1})
    await served.start("first")
    await wait_until(lambda: agent.payloads)
    for replayed in (False, True):
        answer = await ask(served, "/invoke", "second")
        assert (answer.status, answer.body["code"], answer.replayed) == (504, "TIMEOUT_ERROR", replayed)
        assert answer.body["error"] == "the agent exceeded its time limit"
    agent.go.set()
    await wait_until(lambda: not served.service.runs._in_flight)
    assert agent.payloads == ["first"]


@EVERY_BACKEND
async def test_answer_is_repeated_when_its_time_is_long_over(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await replicas(serve, Counts(), arguments={"timeout_sec": 10})
    first = await ask(here, "/invoke")
    later = datetime.now(UTC) + timedelta(minutes=50)
    monkeypatch.setattr("dockrion.web.stored_invocation.datetime", SimpleNamespace(now=lambda _: later))
    second = await ask(there, "/invoke")
    assert (second.status, second.body, second.replayed) == (200, first.body, True)


async def test_no_time_to_retry_after_for_what_will_be_the_same(serve: Serve) -> None:
    served = await serve(agent := Waits())
    first = asyncio.create_task(ask(served, "/invoke"))
    await wait_until(lambda: agent.payloads)
    (run,) = list(served.service.runs._in_flight)
    served.service.runs.caller_left(RunRef(run.run_id, None), cancel=True)
    assert (await first).status == 503
    assert "Retry-After" in (await first).headers
    second = await ask(served, "/invoke")
    assert (second.status, second.replayed) == (503, True)
    assert "Retry-After" not in second.headers


@EVERY_BACKEND
async def test_outcome_of_an_invocation_is_kept_for_an_hour(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(Counts(), streaming={"redis": {"stream_ttl_seconds": 60}})
    values = claims(monkeypatch, served)
    await ask(served, "/invoke")
    run_id = idempotency._unpacker.decode(values[0]).run_id
    assert (await served.service.backend.get(run_id)).kept_seconds == 3600
    await forget(served.service.backend, run_id)
    with pytest.raises(RunNotFound):
        await served.service.backend.get(run_id)
