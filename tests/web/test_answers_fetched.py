"""`GET /runs/{id}/input/{request_id}`: the answers to pushed questions, for those who may push."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dockrion import ids
from tests import support
from tests.conftest import Serve
from tests.support import INGEST, TIMEOUT_SECONDS, Served, wait_until
from tests.web.answering import accepted, answering, waiting
from tests.web.credentials import Headers, api_keys
from tests.web.helpers import error_of
from tests.web.test_push import END, push, refused
from tests.web.test_push_urls import serving

pytestmark = pytest.mark.usefixtures("every_backend")
ENABLED: dict[str, Any] = {"ingest": INGEST}
ASKED: dict[str, Any] = {
    "type": "input_requested",
    "request_id": "q1",
    "prompt": "Send it?",
    "schema": {"type": "boolean"},
}


async def two(serve: Serve, **sections: Any) -> tuple[Served, Served]:
    first = await serve(streaming=ENABLED, **sections)
    return first, await serve(streaming=ENABLED, **sections) if support.SHARED_REDIS else first


async def fetched(
    served: Served, run_id: str, request_id: str = "q1", wait: int = 0, headers: Headers | None = None
) -> aiohttp.ClientResponse:
    path = f"/runs/{run_id}/input/{request_id}"
    async with served.client.get(path, params={"wait": wait}, headers=headers) as response:
        await response.read()
        return response


async def test_an_answer_is_fetched_from_any_replica(serve: Serve) -> None:
    owner, other = await two(serve)
    run_id = await owner.start(external="true")
    await push(other, run_id, [{"type": "token", "content": "x"}, ASKED])
    assert (await waiting(other, run_id))["request_id"] == "q1"
    for replica in (owner, other):
        response = await fetched(replica, run_id)
        assert (response.status, await response.text()) == (204, "")
        assert response.headers["Cache-Control"] == "no-store"
        await error_of(await fetched(replica, run_id, "q2"), 404, "NOT_FOUND")
        await error_of(await fetched(replica, "nobody"), 404, "NOT_FOUND")
        await error_of(await fetched(replica, run_id, wait=61), 400, "VALIDATION_ERROR")
    fetching = [asyncio.create_task(fetched(each, run_id, wait=30)) for each in (owner, other)]
    await asyncio.sleep(0.05)
    async with answering(other, run_id, "q1", "yes") as response:
        await error_of(response, 400, "VALIDATION_ERROR")
    await accepted(other, run_id, "q1", value=True)
    again = [await fetched(each, run_id) for each in (owner, other)]
    for response in (*await asyncio.gather(*fetching), *again):
        assert response.status == 200
        assert await response.json() == {"run_id": run_id, "request_id": "q1", "value": True}
    await push(other, run_id, END)
    await owner.finished(run_id)
    await wait_until(lambda: not owner.service.runs._in_flight)  # its owner has known it a moment longer
    for replica in (owner, other):
        await error_of(await fetched(replica, run_id, wait=5), 410, "GONE")


async def test_a_pushed_error_does_not_show_a_secret_answer(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    owner, other = await two(serve)
    run_id = await owner.start(external="true")
    await push(other, run_id, [ASKED | {"schema": None, "secret": True}])
    await waiting(other, run_id)
    await accepted(other, run_id, "q1", "hunter2hunter2")
    await push(other, run_id, {"type": "error", "error": "hunter2hunter2 was refused", "code": "REFUSED"})
    record = await owner.finished(run_id)
    assert record["error"]["error"] == "*** was refused"
    async with other.events(run_id) as reader:
        await reader.all()
    assert "hunter2" not in reader.raw.decode() + repr([vars(each) for each in caplog.records])


async def test_a_fetch_goes_on_longer_than_an_owner_may_take_to_reply(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.runs.answers._FETCH_SECONDS", 0.05)
    owner, other = await two(serve)
    run_id = await owner.start(external="true")
    await push(owner, run_id, ASKED)
    await waiting(other, run_id)
    fetching = asyncio.create_task(fetched(other, run_id, wait=30))
    await asyncio.sleep(0.2)
    assert not fetching.done()
    await accepted(other, run_id, "q1", value=False)
    assert (await (await fetching).json())["value"] is False


async def test_an_expired_question_is_gone(serve: Serve) -> None:
    owner, other = await two(serve)
    run_id = await owner.start(external="true")
    await push(owner, run_id, {**ASKED, "timeout": 0.1})
    for replica in (other, owner):
        await error_of(await fetched(replica, run_id, wait=30), 410, "GONE")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await other.record(run_id))["waiting_for"] is not None:
            await asyncio.sleep(0.005)
    await refused(other, run_id, ASKED, 409, "CONFLICT")


async def test_who_may_push_may_fetch(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(streaming={"ingest": {"enabled": True}}, **mode.sections(tmp_path))
    key = mode.key("owner")
    async with served.client.post("/runs?external=true", headers=key) as response:
        run_id = (await response.json())["run_id"]
    async with served.client.post(f"/runs/{run_id}/events", json=ASKED, headers=key) as response:
        assert response.status == 200, await response.text()
    for user, status in (("owner", 204), ("other", 404), ("auditor", 403), ("approver", 403)):
        assert (await fetched(served, run_id, headers=mode.key(user))).status == status, user
    assert (await fetched(served, run_id)).status == 401


async def test_without_a_token_nobody_may_fetch_over_tcp(serve: Serve) -> None:
    served = await serve(streaming={"ingest": {"enabled": True}})
    run_id = await served.start()
    await error_of(await fetched(served, run_id), 403, "FORBIDDEN")


async def test_an_agent_process_fetches_at_its_url(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(serve, 2) as (agent, replicas):
        served, other = replicas[0], replicas[-1]
        run_id = await served.start()
        events_url = await agent.url(run_id)
        path, token = events_url.split("/runs/")[1].split("/events/")
        async with served.client.post(f"/runs/{path}/events/{token}", json=ASKED) as response:
            assert response.status == 200, await response.text()
        async with other.client.get(f"/runs/{path}/input/{token}/q1") as response:
            assert response.status == 204
        await waiting(other, run_id)
        await accepted(other, run_id, "q1", value=True)
        for each in replicas:
            async with each.client.get(f"/runs/{path}/input/{token}/q1?wait=5") as response:
                assert (await response.json())["value"] is True
            for wrong in (f"{token}x", "x", f"{'0' * 16}.{token}"):
                async with each.client.get(f"/runs/{path}/input/{wrong}/q1") as response:
                    await error_of(response, 401, "AUTH_ERROR")
            async with each.client.get(f"/runs/{ids.uuid7()}/input/{token}/q1") as response:
                await error_of(response, 401, "AUTH_ERROR")
        async with served.client.post(f"/runs/{path}/events/{token}", json=END) as response:
            assert response.status == 200
        await served.finished(run_id)
        ours = [vars(record) for record in caplog.records if record.name.startswith("dockrion")]
        assert token not in str(ours)


async def test_a_shutdown_ends_a_fetch(serve: Serve) -> None:
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    await push(served, run_id, ASKED)
    fetching = asyncio.create_task(fetched(served, run_id, wait=60))
    await wait_until(lambda: served.service.streams._deadlines)
    await served.service.drain(0)
    response = await fetching
    assert response.status in (204, 410)
