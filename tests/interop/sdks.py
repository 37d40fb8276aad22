"""SDKs of npm in one Node.js process, for the tests of a module."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

from tests.interop import node
from tests.support import TIMEOUT_SECONDS


class SDK:
    """Commands to a script that carries them out with an SDK.

    Args:
        process: The Node.js process.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    async def __call__(self, command: str, **options: Any) -> Any:
        """Send a command, and return its answer."""
        async with asyncio.timeout(TIMEOUT_SECONDS * 2):
            return await asyncio.to_thread(self.ask, command, **options)

    def ask(self, command: str, **options: Any) -> Any:
        """Send a command, and return its answer; blocks meanwhile."""
        given = {name: value for name, value in options.items() if value is not None}
        answer = json.loads(self._exchange(json.dumps({"command": command, **given})))
        assert "thrown" not in answer, answer["thrown"]
        return answer

    def _exchange(self, line: str) -> str:
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        asked.write(line + "\n")
        asked.flush()
        return answered.readline()


@contextmanager
def running(script: str) -> Iterator[SDK]:
    """Run Node.js with a script, and end it; fail if it wrote errors."""
    command: list[str | Path] = [node.executable(), script]
    process = subprocess.Popen(command, cwd=node.FOLDER, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
    try:
        yield SDK(process)
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        assert not errors, errors
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
