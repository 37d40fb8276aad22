"""Dockrion in a real process."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from tests.support import wait_until

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 25.0  # shorter than the grace period, so that a process that waits for its end is noticed
START_SECONDS = 60.0  # a process takes its time to start on a busy machine

_KEPT = "PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE"


def environment(**more: str) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if name in _KEPT}
    return {**keep, "PYTHONPATH": str(ROOT), **more}


def command(*arguments: str | Path, module: str = "dockrion") -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def run(
    *arguments: str | Path, cwd: Path, module: str = "dockrion", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that exits by itself."""
    return subprocess.run(
        command(*arguments, module=module),
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
        preexec_fn=_heed_ctrl_c,
    )


def _heed_ctrl_c() -> None:
    """Let Ctrl-C end a command, which a shell that started the tests in the background ignores for them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def write_dockfile(folder: Path, code: str = "", **sections: Any) -> Path:
    """Write a Dockfile, and its agent as `agent.py` beside it."""
    content: dict[str, Any] = {
        "version": "1.0",
        "agent": {"name": "tested", "handler": "agent:handle"},
        "io_schema": {},
        "expose": {"host": "127.0.0.1"},
    }
    (folder / "agent.py").write_text(code)
    path = folder / "Dockfile.yaml"
    path.write_text(yaml.safe_dump(content | sections))
    return path


class Process:
    """A service in a real process, whose output goes to files."""

    def __init__(
        self,
        dockfile: Path,
        folder: Path,
        module: str,
        variables: dict[str, str],
        arguments: Sequence[str] = (),
    ) -> None:
        self._out, self._err = folder / "out.log", folder / "err.log"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.popen = subprocess.Popen(
                command("run", dockfile, "--host", "127.0.0.1", "--port", "0", *arguments, module=module),
                cwd=folder,
                env=environment(**variables),
                stdout=out,
                stderr=err,
            )
        self.url = ""

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def logged(self, message: str) -> dict[str, Any] | None:
        """Return the first log line with a message, None if there is none."""
        for line in self.out.splitlines(keepends=True):
            if line.endswith("\n"):
                fields: dict[str, Any] = msgspec.json.decode(line)
                if fields["message"] == message:
                    return fields
        return None

    async def until_logged(self, message: str) -> dict[str, Any]:
        await wait_until(lambda: self.logged(message) or self.popen.poll() is not None, START_SECONDS)
        line = self.logged(message)
        assert line is not None, self.err
        return line

    async def until_listening(self) -> None:
        self.url = f"http://127.0.0.1:{(await self.until_logged('listening'))['port']}"

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    async def exit_code(self, timeout: float = TIMEOUT_SECONDS) -> int:
        await wait_until(lambda: self.popen.poll() is not None, timeout)
        return int(self.popen.returncode)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


async def get(process: Process, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(process.url + path) as response:
        return response.status, await response.json()


async def post(process: Process, path: str, payload: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(process.url + path, json=payload) as response,
    ):
        return response.status, await response.json()
