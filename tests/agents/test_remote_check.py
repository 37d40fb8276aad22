"""Health checks and TLS verification of agent processes."""

import ssl
import subprocess
from pathlib import Path

import pytest

from dockrion.errors import ServiceUnavailable
from tests.agents.harness import bench
from tests.agents.processes import JSON, ReceivedRequest, Wire, process, remote


async def fine(_request: ReceivedRequest, wire: Wire) -> None:
    await wire.whole(JSON, b"1")


async def test_process_that_accepts_connections_is_ready_without_a_request() -> None:
    async with process(fine) as made, remote(made.url) as agent:
        await agent.check()
        await agent.check()
    assert made.requests == []


async def test_unix_socket_that_accepts_connections_is_ready(tmp_path: Path) -> None:
    async with process(fine, uds=tmp_path / "a.sock") as made, remote(made.url) as agent:
        await agent.check()
    assert made.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "https://127.0.0.1:1/",
        "http://127.0.0.1:99999/",
        "http://a..b/",
        "http://[::1/",
        "unix:/nowhere/at.sock:/",
        "unix:/" + "a" * 300 + ":/",
        "unix:/dev/null:/",
    ],
)
@pytest.mark.parametrize("health", [True, False], ids=["asked", "connected to"])
async def test_unreachable_process_is_not_ready(url: str, health: bool) -> None:
    async with remote(url, health_url=url if health else None) as agent:
        with pytest.raises(ServiceUnavailable, match="cannot be reached"):
            await agent.check()


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "299 Fine"])
async def test_successful_health_url_is_ready(status: str) -> None:
    async def health(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.whole(None, status=status)

    async with process(health) as made, remote("http://127.0.0.1:1/", health_url=made.url) as agent:
        await agent.check()
        await agent.check()
    assert [(request.method, request.path) for request in made.requests] == [("GET", "/run")] * 2
    assert made.connections == 1


@pytest.mark.parametrize("status", ["302 Found", "404 Not Found", "500 Oops", "503 Busy"])
async def test_any_other_health_status_is_not_ready(status: str) -> None:
    async def health(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.whole("text/plain", b"secret reasons", status)

    async with process(health) as made, remote(made.url, health_url=made.url) as agent:
        with pytest.raises(ServiceUnavailable, match=f"not ready: status {status[:3]}$"):
            await agent.check()


async def test_health_url_without_a_response_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.agents.remote._CHECK_TIMEOUT", 0.1)

    async def health(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.disconnected()

    async with process(health) as made, remote(made.url, health_url=made.url) as agent:
        with pytest.raises(ServiceUnavailable, match="cannot be reached"):
            await agent.check()


async def test_health_url_with_an_endless_body_is_ready() -> None:
    async def health(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin("text/plain")
        while True:
            await wire.send(b"x" * 1000)

    async with process(health) as made, remote(made.url, health_url=made.url) as agent:
        await agent.check()


async def test_health_url_may_be_a_unix_socket(tmp_path: Path) -> None:
    async with process(fine, uds=tmp_path / "h.sock") as made:
        async with remote("http://127.0.0.1:1/", health_url=f"unix:{tmp_path}/h.sock:/healthz") as agent:
            await agent.check()
        assert made.requests[0].path == "/healthz"


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", "key.pem", "-out", "cert.pem", "-days", "1", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=20)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_self_signed_certificate_is_not_trusted(self_signed: ssl.SSLContext) -> None:
    async with process(fine, tls=self_signed) as made, remote(made.url) as agent, bench(agent) as runs:
        ended = await runs.run()
        assert ended.code == "AGENT_DISCONNECTED"
        assert "cannot be reached" in ended.error
    assert made.requests == []


async def test_https_to_a_process_without_tls_is_a_disconnect() -> None:
    async with process(fine) as made:
        url = made.url.replace("http:", "https:")
        async with remote(url, connect_timeout=0.2) as agent, bench(agent) as runs:
            assert (await runs.run()).code == "AGENT_DISCONNECTED"
        assert made.requests == []


async def test_http_to_a_process_with_tls_is_an_error(self_signed: ssl.SSLContext) -> None:
    async with process(fine, tls=self_signed) as made:
        async with remote(made.url.replace("https:", "http:")) as agent, bench(agent) as runs:
            assert (await runs.run()).code in ("AGENT_DISCONNECTED", "AGENT_PROTOCOL_ERROR")
        assert made.requests == []
