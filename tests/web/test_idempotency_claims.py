"""How keys are claimed: by whom, for which run, and when another request may have them."""

import asyncio
from typing import Any

import pytest

from dockrion.web import idempotency
from tests.backends.conformance import forget
from tests.conftest import Serve
from tests.support import wait_until
from tests.web.helpers import Waits
from tests.web.repeating import EVERY_BACKEND, PATHS, Counts, ask, claims
from tests.web.test_ownership import replicas


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests wait for the run of another for a shorter time."""
    monkeypatch.setattr(idempotency, "_CREATING_SECONDS", 0.2)


@EVERY_BACKEND
@pytest.mark.parametrize("path", PATHS)
async def test_request_that_was_refused_is_carried_out_later(serve: Serve, path: str) -> None:
    limits = {"max_concurrent_runs": 1, "max_queued_runs": 0}
    served = await serve(agent := Waits(), streaming=limits)
    busy = await served.start("first")
    await wait_until(lambda: agent.payloads)
    for _ in range(2):
        assert (await ask(served, path, "second")).status == 429
    agent.go.set()
    await served.finished(busy)
    await wait_until(lambda: not served.service.runs._in_flight)
    for replayed in (False, True):
        answer = await ask(served, path, "second")
        assert answer.status in (200, 202)
        assert answer.replayed is replayed
    await wait_until(lambda: len(agent.payloads) == 2)


@EVERY_BACKEND
async def test_claim_whose_replica_died_is_carried_out_by_another(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await replicas(serve, agent := Counts())
    values = claims(monkeypatch, here)

    async def die(*_arguments: Any, **_more: Any) -> None:
        raise RuntimeError("died")

    with monkeypatch.context() as dying:
        dying.setattr(here.service.runs, "start", die)
        assert (await ask(here, "/runs")).status == 500
    claimed = idempotency._unpacker.decode(values[0])
    answers = await asyncio.gather(*(ask(served, "/runs") for served in (there, here, there)))
    for answer in answers:
        assert answer.body["run_id"] == claimed.run_id
        assert answer.headers["X-Run-Incarnation"] == claimed.incarnation
    assert [answer.replayed for answer in answers].count(False) == 1
    await wait_until(lambda: agent.payloads)
    assert len(agent.payloads) == 1


@EVERY_BACKEND
async def test_key_is_free_when_its_run_is_forgotten(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(Counts())
    first = await ask(served, "/runs")
    await served.finished(first.body["run_id"])
    await forget(served.service.backend, first.body["run_id"])
    monkeypatch.setattr(idempotency, "_FORGOTTEN_SECONDS", 0.0)
    monkeypatch.setattr(idempotency, "_CREATING_SECONDS", 0.0)
    second = await ask(served, "/runs", {"other": "body"})
    assert (second.status, second.replayed) == (202, False)
    assert second.body["run_id"] != first.body["run_id"]
    assert (await ask(served, "/runs", {"other": "body"})).body == second.body


async def test_request_that_was_delayed_until_others_may_have_its_claim_is_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(agent := Counts())
    monkeypatch.setattr(idempotency, "_STARTING_SECONDS", -1.0)
    assert (await ask(served, "/runs")).status == 503
    monkeypatch.undo()
    assert (await ask(served, "/runs")).status == 202
    await wait_until(lambda: agent.payloads)


async def test_request_without_a_key_claims_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(Counts())
    values = claims(monkeypatch, served)
    for path in PATHS:
        async with served.client.post(path, json={}) as response:
            await response.read()
    assert not values
    await ask(served, "/runs")
    assert len(values) == 1


async def test_invalid_body_claims_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(Counts(), io_schema={"input": {"required": ["n"], "properties": {"n": {}}}})
    values = claims(monkeypatch, served)
    for path in PATHS:
        assert (await ask(served, path)).status == 400
    assert not values
    assert (await ask(served, "/invoke", {"n": 1})).status == 200


@pytest.mark.parametrize(("waiting_counts", "days"), [(True, 1), (False, 8)])
async def test_claim_lasts_at_least_as_long_as_its_run(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, waiting_counts: bool, days: int
) -> None:
    events = {"max_run_duration": 500, "waiting_counts": waiting_counts}
    served = await serve(Counts(), streaming={"events": events, "redis": {"stream_ttl_seconds": 70}})
    lasting: list[int] = []

    async def claim(_name: str, value: bytes, seconds: int, _replacing: bytes | None) -> bytes:
        lasting.append(seconds)
        return value

    monkeypatch.setattr(served.service.backend, "claim", claim)
    for path in PATHS:
        await ask(served, path)
    assert lasting == [days * 86_400 + 570, days * 86_400 + 570, 3600 + 120]


@EVERY_BACKEND
async def test_what_is_not_a_claim_is_replaced(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(Counts())
    backend, claim = served.service.backend, served.service.backend.claim

    async def damaged(name: str, value: bytes, seconds: int, replacing: bytes | None) -> bytes:
        await claim(name, b"[]", seconds)
        return await claim(name, value, seconds, replacing)

    with monkeypatch.context() as damaging:
        damaging.setattr(backend, "claim", damaged)
        first = await ask(served, "/runs")
    assert (first.status, first.replayed) == (202, False)
    assert (await ask(served, "/runs")).body == first.body
