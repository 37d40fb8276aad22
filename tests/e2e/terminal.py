"""Dockrion at a terminal: a pseudo-terminal that it controls, as a shell would give it."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.process import START_SECONDS, TIMEOUT_SECONDS, command, environment
from tests.support import wait_until

CTRL_C = b"\x03"
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""  # so that Ctrl-C is a signal
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A service whose output goes to a terminal.

    Attributes:
        popen: Its process.
    """

    def __init__(self, popen: "subprocess.Popen[bytes]", descriptor: int) -> None:
        self.popen = popen
        self._descriptor = descriptor
        self._shown = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    @property
    def raw(self) -> str:
        """What is on the terminal, with its control characters."""
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    @property
    def text(self) -> str:
        """What is on the terminal, without colours."""
        return _COLOURS.sub("", self.raw)

    @property
    def url(self) -> str:
        """The address of the page."""
        match = re.search(r"http://\S+?:\d+(?=/)", self.text)
        assert match is not None, self.text
        return match[0]

    async def until(self, *texts: str) -> None:
        """Wait until all texts are shown, or everything that will ever be."""
        await wait_until(
            lambda: all(text in self.text for text in texts) or not self._reading.is_alive(), START_SECONDS
        )
        assert all(text in self.text for text in texts), self.text

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    async def exit_code(self) -> int:
        await wait_until(lambda: self.popen.poll() is not None, TIMEOUT_SECONDS)
        return int(self.popen.returncode)

    async def until_end(self, text: str) -> None:
        """Wait until a text is the last that is shown."""
        await wait_until(lambda: self.text.endswith(text), TIMEOUT_SECONDS)

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self._reading.join()
        os.close(self._descriptor)

    def _read(self) -> None:
        with suppress(OSError):  # the terminal has no more users
            while data := os.read(self._descriptor, 65536):
                self._shown += data


@contextmanager
def terminal(folder: Path, *arguments: str | Path, **variables: str) -> Iterator[Terminal]:
    """Start `dockrion run` at a terminal; it is killed at the end."""
    ours, theirs = pty.openpty()
    try:
        popen = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command("run", *arguments)],
            cwd=folder,
            env=environment(TERM="xterm", **variables),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    shown = Terminal(popen, ours)
    try:
        yield shown
    finally:
        with suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        shown.close()
