"""Several processes that serve on one port, and one that keeps them going."""

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from dockrion import metrics
from dockrion.errors import StartError
from dockrion.logs import log
from dockrion.server.sockets import Address
from dockrion.server.worker import READY, Place

_logger = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SETTLED_SECONDS = 60.0  # a worker that lived as long is replaced at once
_FIRST_PAUSE = 0.5  # seconds before a worker that did not is; twice as long each time
_LONGEST_PAUSE = 30.0


def supervise(arguments: Sequence[str], address: Address, *, workers: int) -> int:
    """Serve with several processes until a signal ends them.

    Args:
        arguments: Those of `dockrion run` in each process.
        address: Where to listen.
        workers: How many.

    Returns:
        The exit code: 0 when all ended as they should.

    Raises:
        StartError: The address is taken, or there is no place for temporary files.
    """
    return asyncio.run(_Supervisor(arguments, workers).run(address))


class _Supervisor:
    """Starts workers, replaces those that die, and passes signals on."""

    def __init__(self, arguments: Sequence[str], workers: int) -> None:
        # Modules are found where this process finds them: -m alone adds the working directory.
        safe = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
        self._command = [sys.executable, *safe, "-m", "dockrion", "run"]
        self._arguments = arguments
        self._workers = workers
        self._sockets: list[socket.socket] = []
        self._directory = ""
        self._running: set[Process] = set()
        self._ready = asyncio.Event()  # a worker is, or was
        self._ending = asyncio.Event()

    async def run(self, address: Address) -> int:
        """Keep all workers until the end, and return the exit code."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._end)
        with _temporary_directory() as self._directory:
            async with address.bound() as self._sockets:
                codes = await self._keep_all()
        if not self._ending.is_set():
            return 1  # the first worker never was ready, and said why
        # A worker that has no handlers yet dies of a signal, which is no less clean.
        failed = (code for code in codes if code not in (0, *(-number for number in _SIGNALS)))
        return next((code if code > 0 else 128 - code for code in failed), 0)

    async def _keep_all(self) -> list[int]:
        # One at first: what is wrong with it is wrong with all.
        first = asyncio.create_task(self._keep(0))
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait((first, ready), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        others = range(1, self._workers) if self._ready.is_set() else ()
        return await asyncio.gather(first, *map(self._keep, others))

    async def _keep(self, number: int) -> int:
        """Keep one worker until the end, and return the exit code of the last."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while not self._ending.is_set():
            began = loop.time()
            try:
                code = await self._work(number)
            except OSError as error:  # no memory, no descriptors: it may be better later
                log(_logger, logging.ERROR, "worker not started", error=error)
                code = 1
            if self._ending.is_set() or not self._ready.is_set():
                return code
            settled = loop.time() - began >= _SETTLED_SECONDS
            pause = 0.0 if settled else min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ending.wait()
        return 0

    async def _work(self, number: int) -> int:
        """Run a worker, and return its exit code."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                process = await self._start(number, theirs)
            self._running.add(process)
            if self._ending.is_set():  # too late for the signal that everybody had
                _end(process)
            ready = asyncio.create_task(self._until_ready(ours, process.pid))
            code = await process.wait()
            self._running.discard(process)
            ready.cancel()
            await asyncio.wait((ready,))
        metrics.discard_process(self._directory, number)
        if not self._ending.is_set():
            log(_logger, logging.ERROR, "worker died", worker=process.pid, exit_code=code)
        return code

    async def _start(self, number: int, lifeline: socket.socket) -> Process:
        listening = [each.fileno() for each in self._sockets]
        place = Place(number, lifeline.fileno(), listening, self._directory, alone=not self._ready.is_set())
        return await asyncio.create_subprocess_exec(
            *self._command,
            f"--place={msgspec.json.encode(place).decode()}",
            *self._arguments,
            stdin=DEVNULL,
            pass_fds=[place.lifeline, *listening],
            start_new_session=True,  # a terminal's Ctrl-C would be a second signal to them
        )

    async def _until_ready(self, lifeline: socket.socket, pid: int) -> None:
        with suppress(OSError):  # a worker that dies
            if await asyncio.get_running_loop().sock_recv(lifeline, 1) == READY:
                log(_logger, logging.INFO, "worker ready", worker=pid)
                self._ready.set()

    def _end(self) -> None:
        """Pass a signal on."""
        self._ending.set()
        for each in self._sockets:
            each.close()
        for process in self._running:
            _end(process)


def _end(process: Process) -> None:
    """Send SIGTERM, for any signal: while Python starts, SIGINT would print a traceback."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)  # `terminate` can lose the exit code of one that just ended


def _temporary_directory() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix="dockrion-workers-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StartError(f"cannot make a temporary directory: {error}; name another one in TMPDIR") from error
