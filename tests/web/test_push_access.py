"""Who may push events: holders of the token, or without one the peers of a unix socket."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest

from dockrion.cli import main
from dockrion.logs import JsonFormatter
from dockrion.redaction import Redactor
from dockrion.web import push_access
from dockrion.web.aiohttp_internals import connection_factory
from dockrion.web.push_access import PushAccess
from tests.conftest import Serve
from tests.e2e.process import write_dockfile
from tests.support import Served
from tests.web.helpers import Waits, error_of
from tests.web.test_push import ALL, ENABLED, END, own, push
from tests.web.wire import request, wire

TOKEN = "tök/en+ \"with'=everything"
UNGUARDED: dict[str, Any] = {"ingest": {"enabled": True}}
GUARDED: dict[str, Any] = {"ingest": {"enabled": True, "token_env": "PUSH_TOKEN"}}
OF_OTHERS = {
    "Origin": "http://127.0.0.1",
    "origin": "null",
    "Forwarded": "for=127.0.0.1",
    "X-Forwarded-For": "127.0.0.1",
    "x-forwarded-proto": "http",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Prefix": "/agents",
    "x-real-ip": "127.0.0.1",
    "Via": "1.1 proxy",
}


@pytest.fixture
def token(tmp_path: Path) -> str:
    """Set the token, and return its header."""
    quoted = TOKEN.replace("'", "\\'")
    (tmp_path / ".env").write_text(f"PUSH_TOKEN='{quoted}'\n")
    return f"Bearer {TOKEN}"


async def tried(served: Served, run_id: str, status: int, code: str, headers: dict[str, str]) -> None:
    """Check that these headers authorize neither a push nor an external run."""
    for path in (f"/runs/{run_id}/events", "/runs/nobody/events", "/runs?external=true"):
        async with served.client.post(path, json=ALL, headers=headers) as response:
            await error_of(response, status, code)
            if status == 401:
                assert response.headers["WWW-Authenticate"] == "Bearer"
    async with served.client.get("/runs") as response:
        assert [run["run_id"] for run in (await response.json())["items"]] == [run_id]


async def test_push_is_not_found_unless_enabled(serve: Serve) -> None:
    served = await serve()
    run_id = await served.start()
    async with served.client.post(f"/runs/{run_id}/events", json=ALL) as response:
        await error_of(response, 405, "METHOD_NOT_ALLOWED")
        assert "POST" not in response.headers["Allow"]
    async with served.client.post("/runs?external=true", json={}) as response:
        assert "streaming.ingest" in (await error_of(response, 400, "VALIDATION_ERROR"))["error"]
    await served.finished(run_id)


async def test_events_can_be_pushed_without_streaming(serve: Serve) -> None:
    served = await serve(streaming=ENABLED, expose={"streaming": "none"})
    async with served.client.post("/runs?external=true", json={}) as response:
        run = await response.json()
    assert run["events_url"] is None
    await push(served, run["run_id"], [*ALL, END])
    assert (await served.finished(run["run_id"]))["output"] == END["output"]


@asynccontextmanager
async def over_unix_socket(served: Served, path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve a unix socket too, and return a client of it."""
    limits = served.service.dockfile.limits
    protocol = connection_factory(served.client.server.handler, limits, served.service.write_seconds)
    listening = await asyncio.get_running_loop().create_unix_server(protocol, path)
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
        yield session
    listening.close()


@pytest.mark.parametrize("name", [None, *OF_OTHERS])
async def test_tcp_peer_may_not_push_without_a_token(serve: Serve, name: str | None) -> None:
    """A proxy on this machine need not say that it forwards: HAProxy adds no header by default."""
    served = await serve(agent := Waits(), streaming=UNGUARDED)
    run_id = await served.start()
    await tried(served, run_id, 403, "FORBIDDEN", {} if name is None else {name: OF_OTHERS[name]})
    await tried(served, run_id, 403, "FORBIDDEN", {"Authorization": "Bearer any"})
    agent.go.set()
    assert [event["content"] for event in await own(served, run_id)] == ["first", "last"]


async def test_unix_socket_peer_may_push_without_a_token(serve: Serve, tmp_path: Path) -> None:
    served = await serve(streaming=UNGUARDED)
    async with over_unix_socket(served, tmp_path / "s") as session:
        async with session.post("/runs?external=true&run_id=r", json={}) as response:
            assert response.status == 202, await response.text()
        for events in (ALL, END):
            async with session.post("/runs/r/events", json=events) as response:
                assert response.status == 200, await response.text()
    assert await own(served, "r") == ALL


@pytest.mark.parametrize("name", OF_OTHERS)
async def test_proxy_in_front_of_a_unix_socket_may_not_push(serve: Serve, name: str, tmp_path: Path) -> None:
    served = await serve(agent := Waits(), streaming=UNGUARDED)
    run_id = await served.start()
    async with over_unix_socket(served, tmp_path / "s") as session:
        for path in (f"/runs/{run_id}/events", "/runs/nobody/events", "/runs?external=true"):
            for value in (OF_OTHERS[name], ""):
                async with session.post(path, json=ALL, headers={name: value}) as response:
                    await error_of(response, 403, "FORBIDDEN")
    agent.go.set()
    await served.finished(run_id)


async def test_unix_socket_peer_needs_the_token_if_there_is_one(
    serve: Serve, token: str, tmp_path: Path
) -> None:
    served = await serve(streaming=GUARDED)
    async with over_unix_socket(served, tmp_path / "s") as session:
        for value, status in (("", 401), ("Bearer other", 401), (token, 202)):
            headers = {"Authorization": value}
            async with session.post("/runs?external=true", json={}, headers=headers) as response:
                assert response.status == status


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"streaming": UNGUARDED}, True),
        ({"streaming": ENABLED}, False),
        ({"streaming": UNGUARDED, "auth": {}}, False),
        ({}, False),
    ],
    ids=["open", "token", "auth", "not enabled"],
)
async def test_log_says_at_the_start_that_there_is_no_token(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, sections: dict[str, Any], *, said: bool
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=a-key-that-is-long-enough\n")
    await serve(**sections)
    assert ("streaming.ingest.token_env" in caplog.text) is said


async def test_only_the_token_authorizes(serve: Serve, token: str) -> None:
    served = await serve(streaming=GUARDED)
    async with served.client.post(
        "/runs?external=true", json={}, headers={"Authorization": token}
    ) as response:
        run_id = (await response.json())["run_id"]
    wrong = [
        *("", "Bearer", "Bearer ", "Bearer other", TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}"),
        *(f"{token}x", token[:-1], f"Bearer Bearer {TOKEN}", token.upper(), f"Bearer {TOKEN.encode()!r}"),
    ]
    await tried(served, run_id, 401, "AUTH_ERROR", {})
    for value in wrong:
        await tried(served, run_id, 401, "AUTH_ERROR", {"Authorization": value})
    for value in (token, f"bearer {TOKEN}", f"BEARER   {TOKEN}"):
        async with served.client.post(
            f"/runs/{run_id}/events", json=ALL, headers={"Authorization": value}
        ) as response:
            assert response.status == 200
    async with served.client.post(
        f"/runs/{run_id}/events", json=END, headers={**OF_OTHERS, "Authorization": token}
    ) as response:
        assert response.status == 200
    assert await own(served, run_id) == ALL * 3


async def test_token_that_is_not_text_is_refused(serve: Serve, token: str) -> None:
    served = await serve(streaming=GUARDED)
    assert token
    for sent in (b"\xff\xfe", b"\xc3", TOKEN.encode("latin-1", "replace")):
        async with wire(served) as connection:
            asked = request("POST", "/runs/r/events", {"Authorization": "Bearer @"}, b"[]")
            await connection.send(asked.replace(b"Bearer @", b"Bearer " + sent))
            status, _ = await connection.head()
            assert status == "HTTP/1.1 401 Unauthorized"


async def test_token_of_any_bytes_matches_the_same_bytes(serve: Serve, token: str) -> None:
    served = await serve(streaming=GUARDED)
    assert token
    raw = b"raw\xff".decode("utf-8", "surrogateescape")  # as the environment has it
    served.service.push_access = PushAccess(served.backend, raw)
    async with wire(served) as connection:
        asked = request("POST", "/runs/r/events", {"Authorization": "Bearer @"}, b"[]")
        await connection.send(asked.replace(b"Bearer @", b"Bearer raw\xff"))
        status, _ = await connection.head()
        assert status == "HTTP/1.1 400 Bad Request"


async def test_tokens_are_compared_in_constant_time(
    serve: Serve, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(push_access, "hmac", Mock(compare_digest=compare))
    served = await serve(streaming=GUARDED)
    assert token
    async with served.client.post("/runs/r/events", headers={"Authorization": "Bearer sent"}) as response:
        assert response.status == 401
    assert [{*each} for each in compared] == [{b"sent", TOKEN.encode()}]


async def test_token_is_shown_nowhere(serve: Serve, token: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    served = await serve(streaming=GUARDED)
    headers = {"Authorization": token}
    texts: list[str] = []
    async with served.client.post("/runs?external=true", json={}, headers=headers) as response:
        run_id = (await response.json())["run_id"]
    pushed: list[Any] = [
        {"type": TOKEN},
        {"type": "token", TOKEN: 1},
        {"type": f"custom:{TOKEN}"},
        {"type": "complete", TOKEN: 1},
        {"type": "error", "error": f"refused {TOKEN!r}", "details": {TOKEN: [TOKEN]}},
    ]
    for event in pushed:
        async with served.client.post(f"/runs/{run_id}/events", json=event, headers=headers) as response:
            texts.append(await response.text())
    await served.finished(run_id)
    for path in ("/", "/info", "/metrics", "/schema", "/runs", f"/runs/{run_id}", f"/runs/{run_id}/events"):
        async with served.client.get(
            path, headers=headers | {"User-Agent": token.encode().hex()}
        ) as response:
            texts.append(await response.text())
    formatter = JsonFormatter(Redactor())
    texts += [formatter.format(record) for record in caplog.records]
    for form in (TOKEN, repr(TOKEN)[1:-1], TOKEN.replace('"', '\\"')):
        assert not [each for each in texts if form in each]


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("enabled", [True, False])
def test_unset_token_refuses_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: str | None,
    *,
    enabled: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PUSH_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("PUSH_TOKEN", value)
    spec = {"enabled": enabled, "token_env": "PUSH_TOKEN"}
    write_dockfile(tmp_path, "def handle(payload):\n    return payload\n", streaming={"ingest": spec})
    assert main(["run", "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "streaming.ingest.token_env" in line
    assert "PUSH_TOKEN" in line
    assert main(["validate"]) == 1
    assert "PUSH_TOKEN is not set" in capsys.readouterr().err
