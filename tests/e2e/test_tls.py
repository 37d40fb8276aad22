"""HTTPS without a proxy: what is served, to whom, and how the certificate is replaced."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dockrion.cli import main
from dockrion.client import Client, ConnectionLost
from tests.certificates import serial_number, write_certificate
from tests.e2e.conftest import Start
from tests.e2e.fleet import MODULE, PID, Fleet
from tests.e2e.process import TIMEOUT_SECONDS, Process, run, write_dockfile
from tests.support import Reader
from tests.test_dockerfile import health_check

TLS = {"certificate": "tls/certificate.pem", "key": "tls/key.pem"}
WAITS = """
import asyncio, os

async def handle(payload, context):
    await context.emit_token("first")
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    return "done"
"""


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "tls"
    folder.mkdir()
    write_certificate(folder)
    return folder


async def secured(
    start: Start, tmp_path: Path, code: str = WAITS, root_path: str = "", **options: Any
) -> Process:
    expose = {"host": "127.0.0.1", "tls": TLS, "root_path": root_path}
    path = write_dockfile(tmp_path, code, expose=expose)
    process = await start(path, ready=False, **options)
    process.url = process.url.replace("http:", "https:")
    return process


def trusting(folder: Path) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=folder / "certificate.pem")
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


def port_of(process: Process) -> int:
    return int(process.url.rpartition(":")[2])


async def shown(process: Process) -> int:
    """Return the serial number of the certificate that a new connection gets."""
    return await asyncio.to_thread(serial_number, port_of(process))


async def test_certificate_is_replaced_while_streams_go_on(
    start: Start, tmp_path: Path, certificates: Path
) -> None:
    process = await secured(start, tmp_path)
    async with trusting(certificates) as session:
        async with session.post(f"{process.url}/invoke/stream", json={}) as response:
            reader = Reader(response)
            await reader.until("token")
            replaced = write_certificate(certificates)
            process.signal(signal.SIGHUP)
            await process.until_logged("certificate read again")
            assert await shown(process) == replaced
            (certificates / "key.pem").write_text("nothing")
            process.signal(signal.SIGHUP)
            line = await process.until_logged("certificate not replaced: the last one stays")
            assert line["level"] == "error"
            assert str(certificates / "key.pem") in line["reason"]
            assert await shown(process) == replaced
            (tmp_path / "go").touch()
            assert [message.event for message in await reader.all()] == ["complete"]
        async with session.get(f"{process.url}/health") as response:  # on the connection from before
            assert response.status == 200
    key = (certificates / "key.pem").read_text()
    process.signal()
    assert await process.exit_code() == 0
    assert "PRIVATE KEY" not in process.out + process.err + key


async def test_every_worker_replaces_its_certificate(
    start: Start, tmp_path: Path, certificates: Path
) -> None:
    process = await secured(start, tmp_path, PID, module=MODULE, WORKERS="2")
    fleet = Fleet(process)
    await fleet.until_logged("worker ready", 2)
    first, other = fleet.pids
    replaced = write_certificate(certificates)
    process.signal(signal.SIGHUP)
    await fleet.until_logged("certificate read again", 2)
    for pid in (first, other):
        with fleet.only(pid):
            assert await shown(process) == replaced
    os.kill(first, signal.SIGKILL)  # one that replaces it reads the files anyway
    await fleet.until_logged("worker ready", 3)
    assert [line["exit_code"] for line in fleet.lines("worker died")] == [-signal.SIGKILL]
    process.signal()
    assert await process.exit_code() == 0


async def test_peers_without_tls_are_dropped_and_logged_once(
    start: Start, tmp_path: Path, certificates: Path
) -> None:
    process = await secured(start, tmp_path)
    for sent in (b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(process))
        writer.write(sent)
        if not sent:
            writer.write_eof()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert b"HTTP" not in await reader.read()
        writer.close()
    async with trusting(certificates) as session, session.get(f"{process.url}/health") as response:
        assert response.status == 200
    lines = [json.loads(line) for line in process.out.splitlines() if "handshake" in line]
    assert [(line["client"], line["reason"], line["level"]) for line in lines] == [
        ("127.0.0.1", "HTTP_REQUEST", "info")
    ]
    assert not process.err


async def test_clients_doctor_and_health_check_speak_tls(
    start: Start, tmp_path: Path, certificates: Path
) -> None:
    (tmp_path / "go").touch()
    process = await secured(start, tmp_path, root_path="/agents/writer")
    url = f"{process.url}/agents/writer/"
    with pytest.raises(ConnectionLost, match=r"certificate.*SSL_CERT_FILE"):
        async with Client(url, retry_timeout=0) as client:
            await client.invoke({})
    trusted = {"SSL_CERT_FILE": str(certificates / "certificate.pem")}
    for arguments in (("invoke", "--url", url, "{}"), ("load", url, "--runs", "1", "--pattern", "runs")):
        done = await asyncio.to_thread(run, *arguments, cwd=tmp_path, **trusted)
        assert done.returncode == 0, done.stderr + done.stdout
    done = await asyncio.to_thread(run, "invoke", "--url", process.url, "{}", cwd=tmp_path)
    assert done.returncode != 0
    assert "SSL_CERT_FILE" in done.stderr
    expose = {"host": "127.0.0.1", "port": port_of(process), "tls": TLS}
    write_dockfile(tmp_path, WAITS, expose=expose)
    done = await asyncio.to_thread(run, "doctor", cwd=tmp_path)
    assert "is that of this agent's service, which runs" in done.stdout
    check = health_check(port_of(process))
    assert (await asyncio.to_thread(subprocess.run, check, check=False)).returncode == 0
    assert [line for line in process.out.splitlines() if "handshake" in line and "HTTP_REQUEST" in line] == []


@pytest.mark.usefixtures("certificates")
async def test_unix_socket_has_no_tls(tmp_path: Path) -> None:
    path = write_dockfile(tmp_path, WAITS, expose={"tls": TLS})
    process = Process(path, tmp_path, "dockrion", {}, ("--uds", str(tmp_path / "s")))
    try:
        await process.until_logged("agent loaded")
        connector = aiohttp.UnixConnector(str(tmp_path / "s"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://localhost/health") as response,
        ):
            assert response.status == 200
    finally:
        process.end()


async def test_hangup_without_tls_ends_the_service_as_ever(start: Start, tmp_path: Path) -> None:
    process = await start(write_dockfile(tmp_path, WAITS))
    process.signal(signal.SIGHUP)
    assert await process.exit_code() == -signal.SIGHUP


def test_wrong_files_refuse_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_dockfile(tmp_path, WAITS, expose={"host": "127.0.0.1", "port": 1, "tls": TLS})
    message = f"expose.tls.certificate: cannot read {tmp_path}/tls/certificate.pem: No such file or directory"
    done = run("run", cwd=tmp_path)
    assert (done.returncode, message in done.stderr, "Traceback" in done.stderr) == (1, True, False)
    for command in ("validate", "doctor"):
        assert main([command]) == 1
        assert message in "".join(capsys.readouterr())
