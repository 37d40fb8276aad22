"""`Idempotency-Key`: a request is carried out once, however often it is sent, and to whichever replica."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.keys import QUEUE
from dockrion.errors import RunNotFound, ServiceUnavailable
from dockrion.events import Entry
from dockrion.web import idempotency
from tests import support
from tests.backends.conformance import forget
from tests.conftest import Serve
from tests.support import Reader, Served, wait_until
from tests.web.credentials import Headers, api_keys
from tests.web.helpers import Waits, error_of
from tests.web.test_ownership import key as api_key
from tests.web.test_ownership import replicas

EVERY_BACKEND = pytest.mark.usefixtures("every_backend")
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
PATHS = ("/runs", "/invoke/stream", "/invoke")
REPLAYED = "Idempotency-Replayed"


class Answered(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def replayed(self) -> bool:
        return REPLAYED in self.headers


class Counts:
    """An agent that counts how often it works on each payload."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        self.payloads.append(payload)
        await context.emit_token("a token")
        await asyncio.sleep(0)
        return {"number": len(self.payloads), "payload": payload}


async def ask(
    served: Served, path: str, body: Any = None, headers: Headers | None = None, **query: str
) -> Answered:
    """Send a request with the key, and return the response as a caller compares it."""
    async with served.client.post(
        path, json=body or {}, headers=KEY | (headers or {}), params=query
    ) as response:
        if response.content_type == "text/event-stream":
            content: Any = [(each.event, each.id, each.data) for each in await Reader(response).all()]
        else:
            content = await response.json()
        return Answered(response.status, dict(response.headers), content)


@EVERY_BACKEND
@pytest.mark.parametrize("path", PATHS)
async def test_second_request_is_answered_as_the_first(serve: Serve, path: str) -> None:
    here, there = await replicas(serve, agent := Counts())
    first, second = await ask(here, path, {"n": 1}), await ask(there, path, {"n": 1})
    assert first.status == second.status == (202 if path == "/runs" else 200)
    assert first.body == second.body
    assert (first.replayed, second.headers[REPLAYED]) == (False, "true")
    same = {"Location", "X-Run-Id", "X-Run-Incarnation"}
    assert {name: first.headers.get(name) for name in same} == {
        name: second.headers.get(name) for name in same
    }
    await wait_until(lambda: agent.payloads)
    assert agent.payloads == [{"n": 1}]


@EVERY_BACKEND
@pytest.mark.parametrize("path", PATHS)
async def test_fifty_requests_at_once_start_one_run(serve: Serve, path: str) -> None:
    here, there = await replicas(
        serve, agent := Counts(), streaming={"max_concurrent_runs": 2, "max_queued_runs": 0}
    )
    answers = await asyncio.gather(*(ask(served, path) for served in (here, there) for _ in range(25)))
    assert {answer.status for answer in answers} == {202 if path == "/runs" else 200}
    assert [answer.replayed for answer in answers].count(False) == 1
    assert all(answer.body == answers[0].body for answer in answers)
    await wait_until(lambda: agent.payloads)
    assert len(agent.payloads) == 1
    listing = (await (await here.client.get("/runs")).json())["items"]
    assert len(listing) == (0 if path == "/invoke" else 1)


@EVERY_BACKEND
@pytest.mark.parametrize("path", PATHS)
async def test_key_of_another_request_is_refused(serve: Serve, path: str) -> None:
    here, there = await replicas(serve, agent := Counts())
    await ask(here, path, {"n": 1})
    for other, body in [(path, {"n": 2}), *((each, {"n": 1}) for each in PATHS if each != path)]:
        async with there.client.post(other, json=body, headers=KEY) as response:
            await error_of(response, 422, "IDEMPOTENCY_MISMATCH")
            assert REPLAYED not in response.headers
    assert (await ask(there, path, {"n": 1})).replayed
    await wait_until(lambda: agent.payloads)
    assert len(agent.payloads) == 1


async def test_key_of_a_request_for_another_run_is_refused(serve: Serve) -> None:
    served = await serve()
    assert (await ask(served, "/runs", run_id="one")).status == 202
    assert (await ask(served, "/runs", run_id="two")).status == 422
    assert (await ask(served, "/runs")).status == 422
    assert (await ask(served, "/runs", run_id="one")).replayed


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "wrong", ["", "a b", "\u00e9", "\t", "x" * 256], ids=["empty", "space", "e", "tab", "long"]
)
async def test_malformed_key_is_refused(serve: Serve, path: str, wrong: str) -> None:
    served = await serve(agent := Counts())
    async with served.client.post(path, json={}, headers={"Idempotency-Key": wrong}) as response:
        await error_of(response, 400, "VALIDATION_ERROR")
    async with served.client.post(path, json={}, headers=[*KEY.items(), *KEY.items()]) as response:
        await error_of(response, 400, "VALIDATION_ERROR")
    assert not agent.payloads


@pytest.mark.parametrize("good", ["a", "~" * 255, '"quoted"', "!"])
async def test_every_visible_character_may_be_in_a_key(serve: Serve, good: str) -> None:
    served = await serve(Counts())
    for replayed in (False, True):
        assert (await ask(served, "/invoke", headers={"Idempotency-Key": good})).replayed is replayed


@EVERY_BACKEND
async def test_keys_of_callers_are_separate(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        here, there = await replicas(serve, agent := Counts(), **mode.sections(tmp_path))
    owner, other = api_key("owner"), api_key("other")
    first = await ask(here, "/runs", headers=owner)
    second = await ask(there, "/runs", {"n": 2}, other)
    assert not second.replayed
    assert first.body["run_id"] != second.body["run_id"]
    again = await ask(there, "/runs", headers=owner)
    assert again.replayed
    assert again.body["run_id"] == first.body["run_id"]
    async with there.client.get(
        again.body["events_url"], params={"token": again.body["events_token"]}
    ) as response:
        assert response.status == 200
    await wait_until(lambda: len(agent.payloads) == 2)


@EVERY_BACKEND
async def test_stream_is_joined_from_its_beginning(serve: Serve) -> None:
    here, there = await replicas(serve, agent := Waits())
    async with here.client.post("/invoke/stream", json={}, headers=KEY) as first:
        reader = Reader(first)
        await reader.until("token")
        second = asyncio.create_task(ask(there, "/invoke/stream"))
        await wait_until(lambda: here.service.streams._deadlines and there.service.streams._deadlines)
        agent.go.set()
        await reader.all()
        assert [event for event, *_ in (await second).body] == ["started", "token", "token", "complete"]
    assert len(agent.payloads) == 1


async def test_only_the_first_caller_of_a_stream_cancels_its_run(serve: Serve) -> None:
    served = await serve(agent := Waits())
    async with served.client.post("/invoke/stream", json={}, headers=KEY) as first:
        async with served.client.post("/invoke/stream", json={}, headers=KEY) as second:
            await Reader(second).until("token")
        await wait_until(lambda: len(served.service.streams._deadlines) == 1)
        assert not agent.stopped
        first.close()
    await wait_until(lambda: agent.stopped)


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


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests wait for the run of another for a shorter time."""
    monkeypatch.setattr(idempotency, "_CREATING_SECONDS", 0.2)


def claims(monkeypatch: pytest.MonkeyPatch, served: Served) -> list[bytes]:
    """Return the list to which the values of claims are added."""
    values: list[bytes] = []
    claim = served.service.backend.claim

    async def listening(name: str, value: bytes, seconds: int, replacing: bytes | None = None) -> bytes:
        values.append(value)
        return await claim(name, value, seconds, replacing)

    monkeypatch.setattr(served.service.backend, "claim", listening)
    return values


@EVERY_BACKEND
async def test_claim_whose_replica_died_is_carried_out_by_another(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await replicas(serve, agent := Counts())
    values = claims(monkeypatch, here)

    async def die(*_arguments: Any, **_more: Any) -> None:
        raise ServiceUnavailable("died")

    with monkeypatch.context() as dying:
        dying.setattr(here.service.runs, "start", die)
        assert (await ask(here, "/runs")).status == 503
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


@EVERY_BACKEND
async def test_run_that_was_never_begun_does_not_count(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"max_concurrent_runs": 1})
    await served.start()
    await wait_until(lambda: agent.payloads)
    first = await ask(served, "/runs")
    backend = served.service.backend
    run = await backend.get(first.body["run_id"])
    error = {"error": "not begun", "code": ServiceUnavailable.code, "details": None}
    ended = msgspec.structs.replace(run, status="failed", error=error, last_sequence=1)
    last = [Entry(1, "error", b"{}", time.time())]
    if isinstance(backend, RedisBackend):  # which gives waiting runs to no replica
        await backend._store.append(QUEUE, ended, last)
    else:
        await backend.append(ended, last)
    second = await ask(served, "/runs")
    assert (second.status, second.replayed) == (202, False)
    assert second.body["run_id"] != first.body["run_id"]
    agent.go.set()


@EVERY_BACKEND
async def test_id_that_the_caller_chose_identifies_its_request(serve: Serve) -> None:
    here, there = await replicas(serve, agent := Counts())

    async def create(served: Served, body: Any, headers: Headers | None = None) -> tuple[int, bool]:
        async with served.client.post(
            "/runs", json=body, params={"run_id": "mine"}, headers=headers
        ) as response:
            if response.status == 202:
                assert (await response.json())["run_id"] == "mine"
                assert response.headers["Location"] == "/runs/mine"
            return response.status, REPLAYED in response.headers

    assert await create(here, {"n": 1}) == (202, False)
    assert await create(there, {"n": 1}) == (202, True)
    assert await create(there, {"n": 2}) == (409, False)
    assert await create(there, {"n": 1}, KEY) == (202, True)
    record = await here.finished("mine")
    assert await create(there, {"n": 1}) == (202, True)
    assert len(agent.payloads) == 1
    assert "request_digest" not in record


@EVERY_BACKEND
async def test_id_of_another_caller_is_a_conflict(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(Counts(), **mode.sections(tmp_path))
    for user, status in (("owner", 202), ("other", 409), ("auditor", 409), ("owner", 202)):
        async with served.client.post("/runs?run_id=mine", json={}, headers=api_key(user)) as response:
            assert response.status == status


async def test_replays_count_towards_the_rate_limit(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        sections = mode.sections(tmp_path, rate_limits={"default": "3/hour"})
        served = await serve(Counts(), **sections)
    statuses = [(await ask(served, "/invoke", headers=api_key("owner"))).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


async def test_pages_of_other_origins_may_read_that_a_request_was_replayed(serve: Serve) -> None:
    served = await serve(Counts(), expose={"cors": {"origins": ["https://a.test"]}})
    origin = {"Origin": "https://a.test"}
    await ask(served, "/runs", headers=origin)
    exposed = (await ask(served, "/runs", headers=origin)).headers["Access-Control-Expose-Headers"]
    assert REPLAYED in exposed


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


async def test_large_body_is_compared_whole(serve: Serve) -> None:
    served = await serve(lambda _payload: None)
    body = {"text": "x" * (idempotency._INLINE_BYTES + 1)}
    assert not (await ask(served, "/invoke", body)).replayed
    assert (await ask(served, "/invoke", body)).replayed
    assert (await ask(served, "/invoke", {"text": body["text"][:-1] + "y"})).status == 422


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


@EVERY_BACKEND
async def test_run_of_another_process_can_be_started_once(serve: Serve) -> None:
    served = await serve(streaming={"ingest": support.INGEST})
    first, second = [await ask(served, "/runs", external="true") for _ in range(2)]
    assert first.body == second.body
    assert second.replayed
    assert (await ask(served, "/runs")).status == 422
