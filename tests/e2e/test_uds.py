"""`dockrion run --uds`: the service on a unix socket."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from dockrion import ids
from tests.backends.conformance import delete_keys
from tests.e2e.process import (
    START_SECONDS,
    TIMEOUT_SECONDS,
    command,
    environment,
    run,
    write_dockfile,
)
from tests.servers import KINDS, shared
from tests.support import wait_until

AGENT = """
async def handle(payload, context):
    await context.emit_token("said")
    return payload
"""


@asynccontextmanager
async def listening(folder: Path, path: Path, *options: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Serve on a unix socket, and wait until it accepts connections."""
    arguments = command("run", folder / "Dockfile.yaml", "--uds", path, *options)
    with (folder / "out.log").open("wb") as out:
        process = subprocess.Popen(arguments, cwd=folder, env=environment(), stdout=out, stderr=out)
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await is_ready(path):
                assert process.poll() is None
                await asyncio.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


async def is_ready(path: Path) -> bool:
    connector = aiohttp.UnixConnector(str(path))
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://localhost/ready") as response,
        ):
            return response.ok
    except aiohttp.ClientConnectionError:
        return False


async def fetch(path: Path, address: str, host: str = "localhost", **payload: Any) -> str:
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"http://{host}{address}", json=payload) as response,
    ):
        assert response.ok
        return await response.text()


async def test_unix_socket_is_served_and_removed(tmp_path: Path) -> None:
    write_dockfile(tmp_path, AGENT)
    path = tmp_path / "d.sock"
    async with listening(tmp_path, path) as process:
        assert await fetch(path, "/invoke", host="any.example", word="rain")
        assert "event: token" in await fetch(path, "/invoke/stream", word="rain")
        process.send_signal(signal.SIGTERM)
        await wait_until(lambda: process.poll() is not None, TIMEOUT_SECONDS)
        assert process.returncode == 0
    assert not path.exists()


@pytest.mark.parametrize("kind", KINDS)
async def test_several_workers_serve_a_unix_socket(tmp_path: Path, kind: str) -> None:
    name = f"tested-{ids.uuid7()}"
    write_dockfile(
        tmp_path,
        "import os, time\nasync def handle(payload):\n    time.sleep(0.01)\n    return os.getpid()\n",
        agent={"name": name, "handler": "agent:handle"},
        streaming={"backend": "redis", "redis": {"url": shared(kind).url}},
    )
    path = tmp_path / "d.sock"
    async with listening(tmp_path, path, "--workers", "2") as process:
        answered: set[int] = set()
        async with asyncio.timeout(START_SECONDS):
            while len(answered) < 2:
                responses = await asyncio.gather(*(fetch(path, "/invoke") for _ in range(10)))
                answered |= {msgspec.json.decode(each)["output"] for each in responses}
        process.send_signal(signal.SIGTERM)
        await wait_until(lambda: process.poll() is not None, TIMEOUT_SECONDS)
        assert process.returncode == 0
    assert not path.exists()
    delete_keys(kind, name)


async def test_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    write_dockfile(tmp_path, AGENT)
    path = tmp_path / "d.sock"
    async with listening(tmp_path, path):
        refused = run("run", tmp_path / "Dockfile.yaml", "--uds", path, cwd=tmp_path)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"cannot listen on {path}: Address already in use;")
    assert path.exists()
    async with listening(tmp_path, path):
        assert await fetch(path, "/invoke", word="rain")


@pytest.mark.parametrize(
    ("name", "reason"), [("Dockfile.yaml", "File exists"), ("no/such.sock", "No such file")]
)
def test_path_that_cannot_be_a_socket_is_reported_in_one_line(tmp_path: Path, name: str, reason: str) -> None:
    write_dockfile(tmp_path, AGENT)
    refused = run("run", tmp_path / "Dockfile.yaml", "--uds", tmp_path / name, cwd=tmp_path)
    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert reason in line
    assert (tmp_path / "Dockfile.yaml").read_text()


def test_too_long_path_is_reported_in_one_line(tmp_path: Path) -> None:
    write_dockfile(tmp_path, AGENT)
    refused = run("run", tmp_path / "Dockfile.yaml", "--uds", tmp_path / ("x" * 200), cwd=tmp_path)
    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert "too long" in line
