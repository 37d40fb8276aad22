"""The URL at which an agent process pushes its run's events: a credential for that run alone."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from dockrion.logs import JsonFormatter
from dockrion.redaction import Redactor
from tests import support
from tests.backends.conformance import forget
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.web.credentials import api_keys
from tests.web.helpers import error_of
from tests.web.test_push import ALL, END, own
from tests.web.test_sidecar import process, sidecar
from tests.web.wire import wire

pytestmark = pytest.mark.usefixtures("every_backend")
INGEST: dict[str, Any] = {"streaming": {"ingest": {"enabled": True}}}


class Accepting:
    """An agent process that accepts every payload, and is to push its events."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}

    async def answer(self, request: web.Request) -> web.Response:
        self.urls[request.headers["X-Dockrion-Run-Id"]] = request.headers["X-Dockrion-Events-Url"]
        return web.Response(status=202)

    async def url(self, run_id: str) -> str:
        """Wait until a run's payload has arrived, and return where to push its events."""
        await wait_until(lambda: run_id in self.urls)
        return self.urls[run_id]


@asynccontextmanager
async def serving(
    serve: Serve, count: int = 1, **sections: Any
) -> AsyncIterator[tuple[Accepting, list[Served]]]:
    """Serve an accepting process with replicas; on the memory backend they are one."""
    agent = Accepting()
    async with process(agent.answer) as url:
        replicas = [
            await sidecar(serve, url, **INGEST, **sections)
            for _ in range(count if support.SHARED_REDIS else 1)
        ]
        yield agent, replicas


async def post(
    url: str, events: Any, status: int = 200, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=events, headers=headers) as response,
    ):
        body: dict[str, Any] = await response.json()
        assert response.status == status, body
        return body


async def test_process_pushes_over_tcp_without_another_credential(serve: Serve) -> None:
    async with serving(serve) as (agent, (served,)):
        run_id = await served.start()
        url = await agent.url(run_id)
        await post(f"{url}?producer_seq=1", ALL)
        assert (await post(f"{url}?producer_seq=1", ALL))["duplicate"]
        await post(f"{url}?producer_seq=2", END)
        assert await own(served, run_id) == ALL
        assert (await post(f"{url}?producer_seq=2", END))["duplicate"]
        assert "finished" in (await post(url, ALL, 400))["error"]


async def test_every_replica_accepts_the_url(serve: Serve) -> None:
    async with serving(serve, 2) as (agent, replicas):
        run_id = await replicas[0].start()
        url = URL(await agent.url(run_id))
        for number, each in enumerate(replicas * 2, 1):
            there = url.with_port(each.client.port)
            await post(f"{there}?producer_seq={number}", ALL[0])
            for wrong in (f"{there}0", str(there)[:-1]):
                await post(wrong, END, 401)
        await post(str(url.with_port(replicas[-1].client.port)), END)
        assert await own(replicas[0], run_id) == [ALL[0]] * len(replicas * 2)


async def test_url_is_for_one_run_only(serve: Serve) -> None:
    async with serving(serve, 2) as (agent, replicas):
        mine, other = await replicas[0].start(run_id="mine"), await replicas[-1].start(run_id="other")
        token = (await agent.url(mine)).rpartition("/")[2]
        for served in replicas:
            for run_id in (other, "nobody", "Mine", "mine-"):
                path = f"/runs/{run_id}/events/{token}"
                async with served.client.post(path, json=END) as response:
                    assert "nobody" not in (await error_of(response, 401, "AUTH_ERROR"))["error"]
            for path in ("/runs/mine/events", f"/runs/mine/events?token={token}", "/runs?external=true"):
                headers = {"Authorization": f"Bearer {token}"}
                async with served.client.post(path, json=END, headers=headers) as response:
                    await error_of(response, 403, "FORBIDDEN")
        for run_id in (mine, other):
            await post(await agent.url(run_id), END)
            assert await own(replicas[0], run_id) == []


async def test_url_of_an_earlier_run_with_the_id_is_of_no_use(serve: Serve) -> None:
    async with serving(serve, 2) as (agent, replicas):
        await replicas[0].start(run_id="again")
        earlier = URL(await agent.url("again"))
        await post(str(earlier), END)
        await replicas[0].finished("again")
        await forget(replicas[0].service.backend, "again")
        del agent.urls["again"]
        await replicas[-1].start(run_id="again")
        current = await agent.url("again")
        assert URL(current).path != earlier.path
        for served in replicas:
            await post(str(earlier.with_port(served.client.port)), END, 404)
        await post(current, END)
        assert await own(replicas[0], "again") == []


async def test_url_works_where_callers_authenticate(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode, serving(serve, **mode.sections(tmp_path)) as (agent, (served,)):
        owner, other = mode.key("owner"), mode.key("other")
        async with served.client.post("/runs", json={}, headers=owner) as response:
            run_id = (await response.json())["run_id"]
        url = await agent.url(run_id)
        for headers in ({}, owner, other):
            await post(url, ALL[0], headers=headers)
        await post(f"{url}x", END, 401, owner)
        await post(url, END)
        async with served.client.get(f"/runs/{run_id}/events", headers=owner) as response:
            text = await response.text()
        assert text.count("event: progress") == 3
        async with served.client.get(f"/runs/{run_id}/events?token={url.rpartition('/')[2]}") as response:
            await error_of(response, 401, "AUTH_ERROR")


async def test_refused_push_reads_no_body_and_asks_the_storage_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(serve) as (agent, (served,)):
        run_id = await served.start()
        url = await agent.url(run_id)

        async def get(_run_id: str) -> Any:
            raise AssertionError

        with monkeypatch.context() as patch:
            patch.setattr(served.service.backend, "get", get)
            async with wire(served) as connection:
                await connection.send(
                    f"POST /runs/{run_id}/events/0.0 HTTP/1.1\r\nHost: localhost\r\n"
                    "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[".encode()
                )
                line, _ = await connection.head()
                assert line == "HTTP/1.1 401 Unauthorized"
        await post(url, END)
        await served.finished(run_id)


async def test_token_gets_into_no_log_and_no_response(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    async with serving(serve) as (agent, (served,)):
        run_id = await served.start()
        url = await agent.url(run_id)
        path, token = URL(url).path, url.rpartition("/")[2]
        odd = [path, f"{path}/", f"{path}/more", f"{path}?x=1", path.replace("/events/", "%2Fevents%2F")]
        odd += [path.replace("/events/", "//events//"), path.replace("events", "%65vents")]
        async with aiohttp.ClientSession() as session:
            for each, method in product(odd, ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST")):
                address = URL(f"http://127.0.0.1:{served.port}{each}", encoded=True)
                async with session.request(method, address, allow_redirects=False) as response:
                    await response.read()
        for events in ([], {"type": "odd"}, ALL):
            async with served.client.post(path, json=events) as response:
                texts.append(await response.text())
        async with wire(served) as connection:
            await connection.send(f"POST {path} HTTP/9.9\r\nHost: localhost\r\n\r\n".encode())
            texts.append((await connection.rest()).decode())
        await post(url, END)
        await served.finished(run_id)
        shown = ["/", "/info", "/metrics", "/openapi.json", "/runs", f"/runs/{run_id}"]
        for each in (*shown, f"/runs/{run_id}/events"):
            async with served.client.get(each) as response:
                texts.append(await response.text())
    formatter = JsonFormatter(Redactor())
    ours = (record for record in caplog.records if record.name != "aiohttp.access")  # of the test's server
    texts += [formatter.format(record) for record in ours]
    assert any("/events/" in text for text in texts)
    signature = token.partition(".")[2]
    assert not [text for text in texts if signature in text]


async def test_caller_who_streams_sees_what_is_pushed(serve: Serve) -> None:
    async with serving(serve) as (agent, (served,)), served.stream() as reader:
        await post(await agent.url(reader.run_id), ALL[1])
        await post(await agent.url(reader.run_id), END)
        assert [message.event for message in await reader.all()] == ["started", "token", "complete"]


async def test_url_has_no_token_where_nothing_is_pushed(serve: Serve) -> None:
    agent = Accepting()
    async with process(agent.answer) as url:
        served = await sidecar(serve, url)
        run_id = await served.start()
        assert URL(await agent.url(run_id)).path == f"/runs/{run_id}/events"
        assert (await served.finished(run_id))["output"] is None


async def test_url_has_the_scheme_that_is_served(serve: Serve) -> None:
    tls = {"tls": {"certificate": "c.pem", "key": "k.pem"}}
    async with serving(serve, expose=tls) as (agent, (served, *_)):
        url = URL(await agent.url(await served.start()))
        assert (url.scheme, url.path.split("/")[1]) == ("https", "runs")


async def test_url_leads_to_the_process_and_has_no_prefix(serve: Serve) -> None:
    expose = {"root_path": "/agents", "trusted_proxies": ["127.0.0.1"]}
    async with serving(serve, expose=expose) as (agent, (served, *_)):
        headers = {"X-Forwarded-Prefix": "/other"}
        async with served.client.post("/agents/runs", json={}, headers=headers) as response:
            url = URL(await agent.url((await response.json())["run_id"]))
        assert url.path.split("/")[1] == "runs"
        assert url.port == served.client.port
        async with served.client.post(f"/agents{url.path}", json=END) as response:
            assert response.status == 200
