"""Who may push events: holders of the token, or without one local processes."""

import hmac
import logging
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

from dockrion.cli import main
from dockrion.logs import JsonFormatter
from dockrion.redaction import Redactor
from dockrion.web import access, ingest
from dockrion.web.access import AccessControl
from tests.conftest import Serve
from tests.e2e.process import write_dockfile
from tests.support import Served
from tests.web.helpers import error_of
from tests.web.test_push import ALL, ENABLED, END, own, push
from tests.web.wire import request, wire

TOKEN = "tök/en+ \"with'=everything"
GUARDED: dict[str, Any] = {**ENABLED, "ingest": {"enabled": True, "token_env": "PUSH_TOKEN"}}
OF_OTHERS = {
    "Origin": "http://127.0.0.1",
    "origin": "null",
    "Forwarded": "for=127.0.0.1",
    "X-Forwarded-For": "127.0.0.1",
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


@pytest.mark.parametrize("name", OF_OTHERS)
async def test_forwarded_request_is_not_local(serve: Serve, name: str) -> None:
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    await tried(served, run_id, 403, "FORBIDDEN", {name: OF_OTHERS[name]})
    await tried(served, run_id, 403, "FORBIDDEN", {name: ""})
    await tried(served, run_id, 403, "FORBIDDEN", {name: OF_OTHERS[name], "Authorization": "Bearer any"})
    await push(served, run_id, END)
    assert await own(served, run_id) == []


# Our address, the peer's, and whether the peer is this machine.
ADDRESSES: list[tuple[Any, Any, bool]] = [
    ("/run/socket", "", True),
    (("127.0.0.1", 80), ("127.0.0.1", 4), True),
    (("127.0.0.1", 80), ("127.9.9.9", 4), True),
    (("::1", 80, 0, 0), ("::1", 4, 0, 0), True),
    (("::", 80, 0, 0), ("::ffff:127.0.0.1", 4, 0, 0), True),
    (("10.0.0.1", 80), ("10.0.0.1", 4), True),
    (("fe80::1%eth0", 80, 0, 2), ("fe80::1%eth0", 4, 0, 2), True),
    (("10.0.0.1", 80), ("10.0.0.2", 4), False),
    (("127.0.0.1", 80), ("128.0.0.1", 4), False),
    (("::", 80, 0, 0), ("::ffff:10.0.0.2", 4, 0, 0), False),
    (("fe80::1%eth0", 80, 0, 2), ("fe80::2%eth0", 4, 0, 2), False),
    (("10.0.0.1", 80), ("169.254.169.254", 4), False),
    (("0.0.0.0", 80), ("0.0.0.0", 4), True),
]


@pytest.mark.parametrize(("ours", "peer", "local"), ADDRESSES)
def test_local_peer_is_detected(ours: Any, peer: Any, *, local: bool) -> None:
    transport = Mock()
    transport.get_extra_info = lambda name, _default=None: {"sockname": ours, "peername": peer}.get(name)
    asked = make_mocked_request("POST", "/runs/r/events", transport=transport)
    assert ingest._is_local(asked) is local


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
    served.service.access = AccessControl(None, None, served.backend, raw)
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

    monkeypatch.setattr(access, "hmac", Mock(compare_digest=compare))
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
