"""`Idempotency-Key`: a request is carried out once, however often it is sent, and to whichever replica."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dockrion.web import idempotency
from tests import support
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Reader, Served, wait_until
from tests.web.credentials import Headers, api_keys
from tests.web.helpers import Waits, error_of
from tests.web.repeating import EVERY_BACKEND, KEY, PATHS, REPLAYED, Counts, ask
from tests.web.test_ownership import key as api_key
from tests.web.test_ownership import replicas


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
async def test_fifty_requests_at_once_start_one_run(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(idempotency, "_CREATING_SECONDS", TIMEOUT_SECONDS)  # to wait for the first request
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


async def test_large_body_is_compared_whole(serve: Serve) -> None:
    served = await serve(lambda _payload: None)
    body = {"text": "x" * (idempotency._INLINE_BYTES + 1)}
    assert not (await ask(served, "/invoke", body)).replayed
    assert (await ask(served, "/invoke", body)).replayed
    assert (await ask(served, "/invoke", {"text": body["text"][:-1] + "y"})).status == 422


@EVERY_BACKEND
async def test_run_of_another_process_can_be_started_once(serve: Serve) -> None:
    served = await serve(streaming={"ingest": support.INGEST})
    first, second = [await ask(served, "/runs", external="true") for _ in range(2)]
    assert first.body == second.body
    assert second.replayed
    assert (await ask(served, "/runs")).status == 422
