"""`dockrion run` as systemd starts it: with a socket to listen on, and one to say when it is ready."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.process import TIMEOUT_SECONDS, command, environment, write_dockfile
from tests.servers import KINDS, free_port, shared
from tests.support import wait_until

LOADED_WHEN_THE_FILE_IS_THERE = """
import os, time

while not os.path.exists("go"):
    time.sleep(0.01)

async def handle(payload):
    return {"names": list(os.environ), "descriptors": os.listdir("/proc/self/fd"), "process": os.getpid()}
"""
OURS = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_unit_with_a_socket(tmp_path: Path, workers: int) -> None:
    program = shutil.which("systemd-socket-activate")
    assert program, "the tests need systemd-socket-activate: install Debian's systemd"
    agent = {"name": f"unit-{os.getpid()}", "handler": "agent:handle"}
    streaming = {"backend": "redis", "redis": {"url": shared(KINDS[0]).url}}
    dockfile = write_dockfile(tmp_path, LOADED_WHEN_THE_FILE_IS_THERE, agent=agent, streaming=streaming)
    serve = command("run", dockfile, "--port", "1", "--workers", str(workers))
    port = free_port()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        (tmp_path / "out.log").open("wb") as out,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        keep = [f"--setenv={name}" for name in (*environment(), *variables)]
        process = subprocess.Popen(
            [program, f"--listen=127.0.0.1:{port}", "--fdname=http", *keep, *serve],
            cwd=tmp_path,
            env=environment(**variables),
            stdout=out,
            stderr=out,
        )
        try:
            await wait_until(lambda: f":{port}" in (tmp_path / "out.log").read_text(), TIMEOUT_SECONDS)
            # The connection starts the service; it is served although nothing listened before.
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                async with session.get("/ready") as response:
                    assert response.status == 503  # it listens, and is not ready
                with pytest.raises(BlockingIOError):
                    manager.recv(1000)
                (tmp_path / "go").touch()
                assert (await next_message(manager)).startswith("READY=1\n")
                assert await next_message(manager) == "WATCHDOG=1"
                assert await next_message(manager) == "WATCHDOG=1"
                answer = await invoke(session)
            assert not set(OURS) & set(answer["names"])
            assert (answer["process"] == process.pid) is (workers == 1)
            process.send_signal(signal.SIGTERM)
            while (message := await next_message(manager)) == "WATCHDOG=1":
                continue
            assert message.startswith("STOPPING=1\n")
            assert await asyncio.to_thread(process.wait, TIMEOUT_SECONDS) == 0
        finally:
            process.kill()
            process.wait()


async def next_message(manager: socket.socket) -> str:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return (await asyncio.get_running_loop().sock_recv(manager, 1000)).decode()


async def invoke(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.post("/invoke", json={}) as response:
        assert response.status == 200, await response.text()
        output: dict[str, Any] = (await response.json())["output"]
        return output
