"""Streams whose credential expires while they are open."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dockrion.auth import introspection
from dockrion.web import streams
from dockrion.wire.sse import Message
from tests.auth.clock import Clock
from tests.auth.issuers import issuer
from tests.conftest import Serve
from tests.support import Reader, Served, data, wait_until
from tests.web.credentials import AUTH_MODES, AuthMode, Headers, api_keys, bearer, public_key
from tests.web.helpers import Waits
from tests.web.test_events_tokens import LIFETIME, begun, renewed

Making = Callable[[], AbstractAsyncContextManager[AuthMode]]
BOTH = pytest.mark.parametrize("making", [AUTH_MODES["jwt public key"], AUTH_MODES["oauth2"]])


@asynccontextmanager
async def opened(making: Making, serve: Serve, folder: Path, **sections: Any) -> AsyncIterator[Any]:
    """Serve callers with a token, and yield the service, its agent, and the token."""
    async with making() as mode:
        served = await serve(agent := Waits(), **sections, **mode.sections(folder))
        yield served, agent, mode.key("owner")
        agent.go.set()


def expire(served: Served) -> None:
    """Let the credential of the only stream expire now, after checking its deadline."""
    (deadline,) = served.service.streams._deadlines
    now = asyncio.get_running_loop().time()
    end = deadline.when()
    assert end is not None
    assert LIFETIME - 10 < end - now <= LIFETIME
    deadline.reschedule(now)


def check_told(messages: list[Message]) -> None:
    """Check that a stream ended with the control frame, which moves no cursor."""
    assert [each.event for each in messages] == ["started", "token", "auth_expired"]
    last = messages[-1]
    assert last.id is None
    assert last.last_event_id == "2"
    assert data(last).keys() == {"message"}


async def read_until_expired(served: Served, response: Any) -> None:
    assert response.status == 200, await response.text()
    reader = Reader(response)
    messages = await reader.until("token")
    expire(served)
    check_told(messages + await reader.all())


async def check_resumed(served: Served, run_id: str, headers: Headers, **query: str) -> None:
    """Check that a resumed reader gets the missing events, and none twice."""
    async with served.client.get(
        f"/runs/{run_id}/events", headers={**headers, "Last-Event-ID": "2"}, params=query
    ) as response:
        assert response.status == 200, await response.text()
        messages = await Reader(response).all()
    assert [(each.id, each.event) for each in messages] == [("3", "token"), ("4", "complete")]


@BOTH
async def test_pattern_b_is_notified_and_resumes(serve: Serve, tmp_path: Path, making: Making) -> None:
    async with opened(making, serve, tmp_path) as (served, agent, headers):
        async with served.client.post("/runs", json={}, headers=headers) as response:
            run_id = (await response.json())["run_id"]
        async with served.client.get(f"/runs/{run_id}/events?timeout=3600", headers=headers) as response:
            await read_until_expired(served, response)
        agent.go.set()
        await check_resumed(served, run_id, headers)
        assert agent.stopped == []


@BOTH
async def test_pattern_a_is_notified_and_its_run_continues(
    serve: Serve, tmp_path: Path, making: Making
) -> None:
    async with opened(making, serve, tmp_path) as (served, agent, headers):
        async with served.client.post("/invoke/stream", json={}, headers=headers) as response:
            await read_until_expired(served, response)
            run_id = response.headers["X-Run-Id"]
        assert agent.stopped == []
        agent.go.set()
        await check_resumed(served, run_id, headers)


async def test_pattern_a_that_cannot_be_resumed_ends_its_run(serve: Serve, tmp_path: Path) -> None:
    sections = {"streaming": {"async_runs": False}}
    async with opened(public_key, serve, tmp_path, **sections) as (served, agent, headers):
        async with served.client.post("/invoke/stream", json={}, headers=headers) as response:
            await read_until_expired(served, response)
        await wait_until(lambda: agent.stopped)


@pytest.mark.usefixtures("every_backend")
async def test_browser_is_notified_and_resumes_with_another_token(serve: Serve, tmp_path: Path) -> None:
    async with opened(api_keys, serve, tmp_path) as (served, agent, _):
        run_id, token = await begun(served)
        query = {"token": token, "timeout": "3600"}
        async with served.client.get(f"/runs/{run_id}/events", params=query) as response:
            await read_until_expired(served, response)
        agent.go.set()
        await check_resumed(served, run_id, {}, token=await renewed(served, run_id))


async def test_stream_ends_when_its_credential_expires(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introspection, "time", clock := Clock())
    monkeypatch.setattr(streams, "time", clock_of_streams := Clock())  # another, for one that opens late
    async with issuer() as explains, opened(api_keys, serve, tmp_path):
        auth = {"mode": "oauth2", "oauth2": {"introspection_url": explains.introspection_url}}
        served = await serve(agent := Waits(), auth=auth)
        short = bearer(explains.activate("short", exp=time.time() + LIFETIME))
        later = bearer(explains.activate("later", exp=time.time() + 3 * LIFETIME))
        async with served.client.post("/runs", json={}, headers=later) as response:
            run_id = (await response.json())["run_id"]
        clock_of_streams.passed = LIFETIME - 0.5
        async with served.client.get(f"/runs/{run_id}/events", headers=short) as response:
            received = await Reader(response).all()
        assert received[-1].event == "auth_expired"
        clock.passed = LIFETIME
        async with served.client.get(f"/runs/{run_id}/events", headers=short) as response:
            assert response.status == 401
        agent.go.set()
        resumed = {**later, "Last-Event-ID": received[-1].last_event_id}
        async with served.client.get(f"/runs/{run_id}/events", headers=resumed) as response:
            rest = await Reader(response).all()
        assert [each.id for each in received[:-1] + rest] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("passed", [-3600.0, 3600.0])
async def test_clock_change_does_not_affect_open_streams(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: float
) -> None:
    async with opened(public_key, serve, tmp_path) as (served, agent, headers):
        async with served.client.post("/invoke/stream", json={}, headers=headers) as response:
            reader = Reader(response)
            messages = await reader.until("token")
            monkeypatch.setattr(streams, "time", clock := Clock())
            clock.passed = passed
            expire(served)
            check_told(messages + await reader.all())
        assert agent.stopped == []


async def test_timeout_before_the_expiry_is_a_timeout(serve: Serve, tmp_path: Path) -> None:
    async with opened(public_key, serve, tmp_path) as (served, _, headers):
        async with served.client.post("/runs", json={}, headers=headers) as response:
            run_id = (await response.json())["run_id"]
        async with served.client.get(f"/runs/{run_id}/events?timeout=1", headers=headers) as response:
            assert (await Reader(response).all())[-1].event == "timeout"


async def test_keys_do_not_expire(serve: Serve, tmp_path: Path) -> None:
    async with (
        opened(api_keys, serve, tmp_path) as (served, agent, headers),
        served.client.post("/invoke/stream", json={}, headers=headers) as response,
    ):
        reader = Reader(response)
        await reader.until("token")
        (deadline,) = served.service.streams._deadlines
        assert deadline.when() is None
        agent.go.set()
        assert (await reader.all())[-1].event == "complete"
