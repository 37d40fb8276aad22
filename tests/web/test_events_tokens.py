"""Run tokens for browsers: they authorize reading one run's events, on every replica."""

from pathlib import Path
from typing import Any

import pytest

from dockrion.auth import events_tokens
from dockrion.backends.redis.keys import Keys
from tests import support
from tests.auth.clock import Clock
from tests.conftest import Serve
from tests.servers import Server
from tests.support import Reader, Served
from tests.web.credentials import Headers, api_keys
from tests.web.helpers import Waits, error_of
from tests.web.test_access import ended, endpoints
from tests.web.test_ownership import key, replicas

pytestmark = pytest.mark.usefixtures("every_backend")
ORIGIN = "https://app.example"
LIFETIME = 300


async def with_keys(serve: Serve, folder: Path, agent: Any, **sections: Any) -> tuple[Served, Served]:
    async with api_keys() as mode:
        return await replicas(serve, agent, **sections, **mode.sections(folder))


async def begun(served: Served, user: str = "owner", **query: str) -> tuple[str, str]:
    """Start a run, and return its id and its token."""
    async with served.client.post("/runs", json={}, headers=key(user), params=query) as response:
        body = await response.json()
        assert response.status == 202, body
        assert body["events_token_expires_in"] == LIFETIME
        return body["run_id"], body["events_token"]


def forget(served: Served, run_id: str) -> None:
    """Let a run expire in the backend."""
    if not support.SHARED_REDIS:
        served.backend._retention.remove(served.backend._logs[run_id])
        return
    keys = Keys(support.SHARED_REDIS["agent"])
    Server(support.SHARED_REDIS["url"]).command("DEL", keys.run(run_id), *keys.log(run_id))


async def renewed(served: Served, run_id: str, user: str = "owner") -> str:
    async with served.client.post(f"/runs/{run_id}/token", headers=key(user)) as response:
        body = await response.json()
        assert response.status == 200, body
        assert body.keys() == {"run_id", "events_token", "events_token_expires_in"}
        return str(body["events_token"])


async def status(
    served: Served, path: str, token: str, headers: Headers | None = None, method: str = "GET"
) -> int:
    body: dict[str, Any] | None = {} if method == "POST" else None
    async with served.client.request(
        method, path, params={"token": token}, headers=headers, json=body
    ) as response:
        if response.status == 401:
            assert (
                '"the credentials are missing, wrong or expired"' in await response.text() or method == "HEAD"
            )
        return response.status


async def test_token_authorizes_reading_its_run_on_every_replica(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, agent := Waits())
    run_id, token = await begun(here)
    for opened, served in ((token, here), (token, there), (await renewed(there, run_id), here)):
        async with served.client.get(f"/runs/{run_id}/events", params={"token": opened}) as response:
            assert response.status == 200
            assert [each.event for each in await Reader(response).until("token")] == ["started", "token"]
    agent.go.set()
    async with there.client.get(f"/runs/{run_id}/events", params={"token": token}) as response:
        assert (await Reader(response).all())[-1].event == "complete"


async def test_token_authorizes_nothing_else(serve: Serve, tmp_path: Path) -> None:
    ingest = {"streaming": {"ingest": {"enabled": True}}}
    here, there = await with_keys(serve, tmp_path, agent := Waits(), **ingest)
    run_id, token = await begun(here)
    other, _ = await begun(there)
    for served in (here, there):
        for endpoint in endpoints(served):
            method, path = endpoint.split()
            if path in ("/", "/health", "/ready", "/docs/{file}") or path.startswith("/assets/"):
                continue
            if (method, path) != ("GET", "/runs/{run_id}/events"):
                url = path.replace("{run_id}", run_id).replace("{request_id}", "question")
                assert await status(served, url, token, method=method) == 401, endpoint
                bearing = {"Authorization": f"Bearer {token}"}
                assert await status(served, url, token, bearing, method) == 401, endpoint
        for path in (f"/runs/{other}/events", "/runs/never-was/events"):
            assert await status(served, path, token) == 401
        assert await status(served, f"/runs/{run_id}/events", "none", {"X-API-Key": token}) == 401
    agent.go.set()


async def test_other_tokens_are_refused(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, lambda payload: payload)
    run_id, token = await begun(here)
    until, _, signature = token.partition(".")
    made_up = [
        *("", ".", "0", "..", "null", "\0", "ä", "🙂", "\ud7ff", "%00", "a" * 4000),
        *(token[:-1], token + "0", f" {token}", f"{token} ", token.upper(), signature, until),
        *(f"{int(until) + 1}.{signature}", f"0{token}", f"+{token}", f"{until}.0.{signature}"),
        *(f"{until}.", f".{signature}", f"inf.{signature}", f"nan.{signature}", f"{until}.{'0' * 64}"),
    ]
    for served in (here, there):
        for each in made_up:
            path = f"/runs/{run_id}/events"
            async with served.client.get(path, params={"token": each}) as response:
                assert "run" not in (await error_of(response, 401, "AUTH_ERROR"))["error"], each
            # A key does not override an invalid token in the URL.
            assert await status(served, path, each, key("owner")) == 401
    for query in (f"?token=x&token={token}", "?token=%ff%fe", "?token=%", "?token"):
        async with here.client.get(f"/runs/{run_id}/events{query}") as response:
            assert response.status == 401


async def test_invalid_token_does_not_reveal_whether_a_run_exists(serve: Serve, tmp_path: Path) -> None:
    here, _ = await with_keys(serve, tmp_path, lambda payload: payload)
    run_id, token = await begun(here)
    responses = set()
    for each in (run_id, "never-was"):
        for sent in ("1.x", token[:-1] + ("0" if token[-1] != "0" else "1")):
            async with here.client.get(f"/runs/{each}/events", params={"token": sent}) as response:
                responses.add(
                    (response.status, await response.text(), str(response.headers["WWW-Authenticate"]))
                )
    assert len(responses) == 1


async def test_only_readers_of_a_run_get_a_token(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, lambda payload: payload)
    run_id, token = await begun(here)
    async with there.client.post(f"/runs/{run_id}/token", headers=key("other")) as response:
        await error_of(response, 404, "NOT_FOUND")
    async with there.client.post(f"/runs/{run_id}/token?token={token}") as response:
        await error_of(response, 401, "AUTH_ERROR")
    opened = await renewed(there, run_id, "auditor")
    assert await status(here, f"/runs/{run_id}/events", opened) == 200


async def test_expired_token_is_refused_and_can_be_renewed(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_tokens, "time", clock := Clock())
    here, there = await with_keys(serve, tmp_path, lambda payload: payload)
    run_id, token = await begun(here)
    path = f"/runs/{run_id}/events"
    clock.passed = LIFETIME - 20
    assert await status(there, path, token) == 200
    clock.passed = LIFETIME + 1
    assert await status(there, path, token) == 401
    assert await status(here, path, await renewed(there, run_id)) == 200


async def test_stream_and_refusal_can_be_read_across_origins(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, lambda payload: payload)
    run_id, token = await begun(here)
    headers = {"Origin": ORIGIN, "Accept": "text/event-stream", "Cache-Control": "no-store"}
    for sent, expected in ((token, 200), ("bad", 401)):
        for last_id in ("", "1"):
            async with there.client.get(
                f"/runs/{run_id}/events",
                params={"token": sent},
                headers=headers | ({"Last-Event-ID": last_id} if last_id else {}),
            ) as response:
                assert response.status == expected
                assert response.headers["Access-Control-Allow-Origin"] in (ORIGIN, "*")
                assert "Origin" in response.headers.getall("Vary")
                if expected == 200:
                    assert response.content_type == "text/event-stream"
                    events = [each.event for each in await Reader(response).all()]
                    assert events == (["complete"] if last_id else ["started", "complete"])


async def test_finished_run_stops_an_up_to_date_browser(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, lambda payload: payload)
    run_id, token = await begun(here)
    await ended(here, run_id, key("owner"))
    assert await status(here, f"/runs/{run_id}/events", token) == 200
    async with there.client.get(
        f"/runs/{run_id}/events", params={"token": token}, headers={"Last-Event-ID": "2"}
    ) as response:
        assert response.status == 204


async def test_open_service_issues_no_tokens(serve: Serve) -> None:
    served = await serve(lambda payload: payload)
    async with served.client.post("/runs", json={}) as response:
        assert "events_token" not in await response.json()
    async with served.client.post("/runs/some/token") as response:
        assert response.status in (404, 405)


async def test_token_is_not_valid_for_a_later_run_of_the_same_id(serve: Serve, tmp_path: Path) -> None:
    here, there = await with_keys(serve, tmp_path, lambda payload: payload)
    _, token = await begun(here, "other", run_id="nightly")
    await ended(here, "nightly", key("other"))
    assert await status(here, "/runs/nightly/events", token) == 200
    forget(here, "nightly")
    await begun(here, "owner", run_id="nightly")
    assert await status(there, "/runs/nightly/events", await renewed(there, "nightly")) == 200
    assert await status(there, "/runs/nightly/events", token) == 401
