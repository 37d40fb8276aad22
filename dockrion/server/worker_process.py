"""Starts and ends worker processes, for the processes that supervise them."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from dockrion.server.worker import WorkerSlot


async def start_worker(slot: WorkerSlot, arguments: Sequence[str]) -> Process:
    """Start a worker.

    Args:
        slot: What it gets; its file descriptors are those of this process.
        arguments: The arguments of `dockrion run` in it.

    Raises:
        OSError: There is no memory, or there are no file descriptors.
    """
    # A worker imports from where this process does: -m alone would add the working directory.
    safe_path = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *safe_path,
        "-m",
        "dockrion",
        "run",
        f"--worker-slot={msgspec.json.encode(slot).decode()}",
        *arguments,
        stdin=DEVNULL,
        pass_fds=[slot.lifeline, *slot.listening],
        start_new_session=True,  # a terminal's Ctrl-C would reach the workers as a second signal
    )


def terminate(process: Process) -> None:
    """Send SIGTERM, whichever signal came: SIGINT would print a traceback while Python starts."""
    send_signal(process.pid, signal.SIGTERM)


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)  # `Process.send_signal` can lose the exit code of one just ended
