"""Run services and shell commands for the examples of the guide."""

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp

from tests import curl
from tests.servers import KINDS, TIMEOUT_SECONDS, free_port, shared

ROOT = Path(__file__).parents[2]
_END_SECONDS = 20.0  # shorter than the grace period
KEY = "a-key-that-is-long-enough"


@contextmanager
def running(dockfile: Path, port: int, folder: Path, role: str = "all", **variables: str) -> Iterator[None]:
    """Run a service in a working directory until the block ends, and assert that it exits with 0."""
    command = [sys.executable, "-m", "dockrion", "run", str(dockfile), "--port", str(port), "--role", role]
    environment = os.environ | {"REDIS_URL": shared(KINDS[0]).url} | variables
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            scheme = "https" if "tls:" in dockfile.read_text() else "http"
            asyncio.run(_until_ready(f"{scheme}://127.0.0.1:{port}/ready"))
            yield
        finally:
            process.terminate()
            assert process.wait(_END_SECONDS) == 0


@contextmanager
def agent_process() -> Iterator[str]:
    """Run the sample agent process, and return its URL once it accepts connections."""
    port = free_port()
    command = [sys.executable, str(ROOT / "config/agents/process.py"), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(_until_accepting(port))
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS), aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.get(url, ssl=False) as response:
                    if response.ok:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)


async def _until_accepting(port: int) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)


def shell(text: str, folder: Path, **variables: str) -> str:
    """Run commands and return their output; a command that fails ends the test."""
    return shell_session(text, folder, **variables)[0]


def shell_session(text: str, folder: Path, **variables: str) -> tuple[str, Path]:
    """Run commands and return their output, and the directory they end in; one that fails ends the test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    define_curl = f'curl() {{ command {shlex.join(curl.command())} "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{define_curl}{text}\necho; pwd"],
        cwd=folder,
        env=os.environ | {"PATH": path} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (text, done.stdout, done.stderr)
    printed, directory = done.stdout.rstrip("\n").rsplit("\n", 1)
    return printed.removesuffix("\n"), Path(directory)
