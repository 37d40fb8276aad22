"""Runs that Redis has stored without a reply, so that their callers got 503: who gets them."""

from typing import Any

import pytest

from dockrion.backends.redis.keys import CREATE
from tests.backends.service import reply_lost
from tests.conftest import Serve
from tests.servers import KINDS
from tests.support import Served, wait_until
from tests.web.helpers import Waits
from tests.web.repeating import PATHS, Answered, Counts, ask

ONE_SLOT = {"max_concurrent_runs": 1}
pytestmark = [
    pytest.mark.usefixtures("every_backend", "fast_beats"),
    pytest.mark.parametrize("every_backend", [KINDS[0]], indirect=True),
]


async def occupied(serve: Serve) -> tuple[Served, Waits]:
    """Serve with a replica whose only slot is taken."""
    served = await serve(agent := Waits(), streaming=ONE_SLOT)
    await served.start("first")
    await wait_until(lambda: agent.payloads)
    return served, agent


async def check_repeated(served: Served, agent: Counts, answer: Answered) -> None:
    """Check that a request got the run of the one before, which its agent works on once."""
    assert answer.status in (200, 202), answer.body
    assert answer.replayed
    if answer.status == 202:
        assert (await served.finished(answer.body["run_id"]))["status"] == "completed"
        assert (await ask(served, "/runs")).body == answer.body
    assert len(agent.payloads) == 1


async def post(served: Served, run_id: str | None) -> tuple[int, Any]:
    """Start a run without a key."""
    query = {} if run_id is None else {"run_id": run_id}
    async with served.client.post("/runs", json={}, params=query) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("path", PATHS)
async def test_waiting_run_that_a_replica_has_taken_is_that_of_the_next_request(
    serve: Serve, path: str
) -> None:
    busy, waiting = await occupied(serve)
    idle = await serve(agent := Counts(), streaming=ONE_SLOT)
    with reply_lost(to=CREATE):
        assert (await ask(busy, path)).status == 503
    await wait_until(lambda: agent.payloads)
    await check_repeated(idle, agent, await ask(idle, path))
    waiting.go.set()


@pytest.mark.parametrize("path", PATHS)
async def test_run_that_had_a_slot_is_that_of_the_next_request(serve: Serve, path: str) -> None:
    here, there = await serve(agent := Counts()), await serve(agent)
    with reply_lost(to=CREATE):
        assert (await ask(here, path)).status == 503
    await check_repeated(here, agent, await ask(there, path))


@pytest.mark.parametrize("waits", [True, False])
async def test_run_whose_caller_chose_its_id_is_that_of_the_next_request(serve: Serve, waits: bool) -> None:
    busy, waiting = await occupied(serve)
    idle = await serve(agent := Counts(), streaming=ONE_SLOT)
    with reply_lost(to=CREATE):
        assert (await post(busy if waits else idle, "chosen"))[0] == 503
    status, body = await post(busy, "chosen")
    assert (status, body["run_id"]) == (202, "chosen")
    assert (await idle.finished("chosen"))["status"] == "completed"
    assert len(agent.payloads) == 1
    waiting.go.set()


@pytest.mark.parametrize("waits", [True, False])
async def test_run_that_no_request_can_find_is_ended(serve: Serve, waits: bool) -> None:
    agent = Counts()
    served, waiting = await occupied(serve) if waits else (await serve(agent), Waits())
    with reply_lost(to=CREATE):
        assert (await post(served, None))[0] == 503
    async with served.client.get("/runs") as response:
        run_id = (await response.json())["items"][0]["run_id"]
    record = await served.finished(run_id)
    assert (record["status"], record["error"]["code"]) == ("failed", "SERVICE_UNAVAILABLE")
    assert not agent.payloads
    waiting.go.set()
