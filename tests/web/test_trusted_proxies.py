"""Logs, limits and access know whom trusted proxies forward for, and nobody else's headers count."""

import asyncio
import logging
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

from dockrion.web.peers import UNIX, peer_address
from tests.conftest import Serve
from tests.web.helpers import Waits, error_of
from tests.web.test_push import ALL
from tests.web.test_push_access import UNGUARDED, over_unix_socket
from tests.web.test_request_log import requests

LOCAL = "127.0.0.1"


NOT_LOADED = """
import sys
from dockrion.dockfile.expose_structs import ExposeSpec
from dockrion.web import app, optional_parts
optional_parts.proxies(ExposeSpec())
print([name for name in sys.modules if name.endswith(("trusted_proxies", "forwarding_headers"))])
"""


def expose(*proxies: str) -> dict[str, Any]:
    return {"expose": {"trusted_proxies": list(proxies)}}


async def test_log_and_limits_know_the_client(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served = await serve(Waits(), **expose(LOCAL), limits={"max_connections_per_caller": 1})
    async with AsyncExitStack() as streams:
        for address in ("1.1.1.1", "2.2.2.2"):
            pending = served.client.post("/invoke/stream", json={}, headers={"X-Forwarded-For": address})
            assert (await streams.enter_async_context(pending)).status == 200
        for address, status in {"1.1.1.1": 429, "[2001:db9::1]": 200}.items():
            headers = {"Forwarded": f'for="{address}"'}
            async with served.client.get("/runs", headers=headers) as response:
                assert response.status == status
    assert [line["client"] for line in requests(caplog)][:2] == ["1.1.1.1", "2001:db9::1"]
    assert "ignored" not in caplog.text


async def test_rate_limits_know_the_client(serve: Serve) -> None:
    auth = {"mode": "none", "rate_limits": {"default": "1/minute"}}
    served = await serve(**expose(LOCAL), auth=auth)
    for address, status in (("1.1.1.1", 200), ("1.1.1.1", 429), ("2.2.2.2", 200)):
        headers = {"X-Forwarded-For": f"made up, {address}"}
        async with served.client.post("/invoke", json={}, headers=headers) as response:
            assert response.status == status


async def test_malformed_header_gets_an_error(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served = await serve(**expose(LOCAL))
    async with served.client.get("/info", headers={"X-Forwarded-For": "nobody"}) as response:
        await error_of(response, 400, "VALIDATION_ERROR")
    (line,) = requests(caplog)
    assert (line["client"], line["status"]) == (LOCAL, 400)


async def test_unix_socket_is_a_proxy_if_it_is_listed(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served = await serve(**expose(UNIX))
    async with over_unix_socket(served, tmp_path / "s") as session:
        for headers in ({"X-Forwarded-For": "1.1.1.1"}, {}):
            async with session.get("/info", headers=headers) as response:
                assert response.status == 200
    async with served.client.get("/info", headers={"X-Forwarded-For": "1.1.1.1"}) as response:
        assert response.status == 200
    assert [line["client"] for line in requests(caplog)] == ["1.1.1.1", UNIX, LOCAL]


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": "127.0.0.1"}], ids=str)
async def test_nobody_pushes_through_a_proxy_in_front_of_a_unix_socket(
    serve: Serve, tmp_path: Path, headers: dict[str, str]
) -> None:
    """The proxy need not say that it forwards."""
    served = await serve(**expose(UNIX), streaming=UNGUARDED)
    async with over_unix_socket(served, tmp_path / "s") as session:
        for path in ("/runs/nobody/events", "/runs?external=true"):
            async with session.post(path, json=ALL, headers=headers) as response:
                await error_of(response, 403, "FORBIDDEN")


@pytest.mark.parametrize("address", ["127.0.0.1", "unix", "", "unknown"])
async def test_no_address_that_a_trusted_proxy_names_may_push(serve: Serve, address: str) -> None:
    served = await serve(**expose(LOCAL), streaming=UNGUARDED)
    for path in ("/runs/nobody/events", "/runs?external=true"):
        async with served.client.post(path, json=ALL, headers={"X-Forwarded-For": address}) as response:
            assert response.status in (400, 403)
            assert (await response.json())["code"] in ("VALIDATION_ERROR", "FORBIDDEN")


async def test_peer_of_a_unix_socket_does_not_choose_its_address(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    served = await serve(**expose("10.0.0.1"))
    async with over_unix_socket(served, tmp_path / "s"):
        peer = socket.socket(socket.AF_UNIX)
        peer.bind("10.0.0.1")
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(peer, str(tmp_path / "s"))
        await loop.sock_sendall(peer, b"GET /info HTTP/1.0\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n")
        while await loop.sock_recv(peer, 65536):
            pass
        peer.close()
    assert [line["client"] for line in requests(caplog)] == [UNIX]


def warned(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if "trusted_proxies" in record.getMessage()]


@pytest.mark.parametrize(
    "name", ["Forwarded", "X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "X-Forwarded-Prefix"]
)
async def test_ignored_headers_are_warned_of_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    served = await serve()
    async with served.client.get("/info") as response:
        assert response.status == 200
    assert not warned(caplog)
    for _ in range(2):
        async with served.client.get("/info", headers={name: "for=1.1.1.1"}) as response:
            assert response.status == 200
    (fields,) = warned(caplog)
    assert fields == {"headers": [name.title()], "peer": LOCAL}


async def test_ignored_headers_over_a_unix_socket_are_warned_of(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve()
    headers = {"X-Forwarded-For": "1.1.1.1"}
    async with (
        over_unix_socket(served, tmp_path / "s") as session,
        session.get("/info", headers=headers) as response,
    ):
        assert response.status == 200
    assert warned(caplog) == [{"headers": ["X-Forwarded-For"], "peer": UNIX}]


@pytest.mark.parametrize(
    ("peer", "warns"), [("8.8.8.8", False), ("2600::1", False), ("10.1.1.1", True), ("fe80::1%e", True)]
)
async def test_headers_of_public_peers_are_no_news(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, peer: str, *, warns: bool
) -> None:
    monkeypatch.setattr("dockrion.web.app.peer_address", lambda _request: peer)
    served = await serve()
    async with served.client.get("/info", headers={"X-Forwarded-For": "1.1.1.1"}) as response:
        assert response.status == 200
    assert bool(warned(caplog)) is warns


async def test_empty_list_trusts_nobody_and_warns_of_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served = await serve(**expose())
    assert served.service.proxies is None
    async with served.client.get("/info", headers={"X-Forwarded-For": "1.1.1.1"}) as response:
        assert response.status == 200
    assert not warned(caplog)
    assert [line["client"] for line in requests(caplog)] == [LOCAL]


def test_nothing_reads_the_headers_unless_the_dockfile_names_a_proxy() -> None:
    done = subprocess.run([sys.executable, "-c", NOT_LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_peer_of_a_closed_connection_is_nobody() -> None:
    """Not a peer of a unix socket, which has no address either and may be trusted."""
    asked = make_mocked_request("GET", "/", transport=(transport := Mock()))
    transport.get_extra_info.return_value = None
    assert peer_address(asked) == "0.0.0.0"
    asked._protocol.transport = None
    assert peer_address(asked) == "0.0.0.0"
