"""The supervisor of `dockrion run --reload`: one worker that is restarted when the agent's files change.

This process keeps the listening sockets, so that requests wait while no worker accepts them. The next
worker is started in advance and waits, so that what it imports of this service takes no time after a save.
"""

import asyncio
import itertools
import logging
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress

from dockrion.background_tasks import BackgroundTasks
from dockrion.logs import log
from dockrion.server.announcer import Announcer
from dockrion.server.file_changes import AgentFiles
from dockrion.server.sockets import Address, port_of
from dockrion.server.worker import READY, WorkerSlot
from dockrion.server.worker_process import send_signal, start_worker, terminate

_HANDOVER_SECONDS = 1.0  # how long the next worker waits for the end of the one before it
_END_SECONDS = 10.0
_logger = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve_reloading(
    arguments: Sequence[str], address: Address, files: AgentFiles, announcer: Announcer
) -> int:
    """Serve until a signal ends it, with a new worker at each change.

    Args:
        arguments: The arguments of `dockrion run` in each worker.
        address: Where to listen.
        files: What may change.
        announcer: Tells a person what the service does.

    Returns:
        The exit code.

    Raises:
        StartError: The address is taken.
    """
    return asyncio.run(_Reloader(arguments, files, announcer).run(address))


class _Worker:
    """A worker process, as its supervisor sees it.

    Args:
        process: The process.
        lifeline: This end of its lifeline.
    """

    def __init__(self, process: Process, lifeline: socket.socket) -> None:
        self.process = process
        self._lifeline = lifeline

    def start(self, failure: str) -> None:
        """Let it serve.

        Args:
            failure: Why there is no agent to load, empty if there is one.
        """
        with suppress(OSError):  # it has died, which is found out when it is waited for
            self._lifeline.send(f"{failure}\n".encode())

    async def next_state(self) -> bytes:
        """Return `READY` or `BROKEN` when it is, empty when it has ended."""
        with suppress(OSError):
            return await asyncio.get_running_loop().sock_recv(self._lifeline, 1)
        return b""

    async def end(self) -> None:
        """Shut it down, and kill it if that takes long."""
        terminate(self.process)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self.process.wait()
        send_signal(self.process.pid, signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        """Wait until it has ended, and return its exit code."""
        code = await self.process.wait()
        self._lifeline.close()
        return code


class _Reloader:
    """Keeps one worker serving, and another one waiting to replace it."""

    def __init__(self, arguments: Sequence[str], files: AgentFiles, announcer: Announcer) -> None:
        self._arguments = arguments
        self._files = files
        self._announcer = announcer
        self._sockets: list[socket.socket] = []
        self._workers: set[_Worker] = set()  # all that have not ended
        self._standby: asyncio.Task[_Worker] | None = None
        self._changed: asyncio.Queue[list[str]] = asyncio.Queue()
        self._tasks = BackgroundTasks()  # workers that start and end
        self._stopped = asyncio.Event()

    async def run(self, address: Address) -> int:
        """Serve until a signal, and return the exit code."""
        signals = itertools.count()
        for signum in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(signum, self._on_signal, signum, signals)
        async with address.listen() as self._sockets:
            self._announcer.listening(address, port_of(self._sockets))
            work = (self._files.watch(self._changed.put_nowait), self._serve(), self._stopped.wait())
            tasks = [asyncio.create_task(each) for each in work]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for each in self._sockets:
                each.close()
            await asyncio.gather(*map(self._end, tuple(self._workers)))
        self._announcer.ended()
        for result in results:
            if isinstance(result, Exception):
                raise result
        return 0

    async def _serve(self) -> None:
        failure = ""
        while True:
            worker = await self._next_worker()
            worker.start(failure)
            code = await self._until_changed(worker)
            if code is not None and not failure:
                log(_logger, logging.ERROR, "worker died", worker=worker.process.pid, exit_code=code)
                failure = f"the agent ended its process: {_describe(code)}"
                continue
            if code is not None:  # not even the reason can be served
                self._announce(await self._changed.get())
            failure = ""

    async def _until_changed(self, worker: _Worker) -> int | None:
        """Return when files have changed and a worker is ending; or its exit code if it ends before."""
        following = asyncio.create_task(self._follow(worker))
        changed = asyncio.create_task(self._changed.get())
        try:
            await asyncio.wait((following, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            changed.cancel()
        if not changed.done():
            return following.result()
        self._announce(changed.result())
        ending = self._tasks.start(self._end(worker))
        await asyncio.wait((ending,), timeout=_HANDOVER_SECONDS)
        return None

    def _announce(self, files: list[str]) -> None:
        while not self._changed.empty():
            files += self._changed.get_nowait()
        files = list(dict.fromkeys(files))
        log(_logger, logging.INFO, "files changed", files=files)
        self._announcer.reloading(files)

    async def _follow(self, worker: _Worker) -> int:
        """Say what a worker reports, and return its exit code."""
        while state := await worker.next_state():
            if state == READY:
                log(_logger, logging.INFO, "worker ready", worker=worker.process.pid)
                self._announcer.ready()
            if self._standby is None:
                self._standby = self._tasks.start(self._new_worker())
        code = await worker.ended()
        self._workers.discard(worker)
        return code

    async def _next_worker(self) -> _Worker:
        starting, self._standby = self._standby or self._tasks.start(self._new_worker()), None
        return await asyncio.shield(starting)

    async def _new_worker(self) -> _Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            listening = [each.fileno() for each in self._sockets]
            slot = WorkerSlot(0, theirs.fileno(), listening, "", first=True, reloaded=True)
            worker = _Worker(await start_worker(slot, self._arguments), ours)
        self._workers.add(worker)
        return worker

    async def _end(self, worker: _Worker) -> None:
        await worker.end()
        self._workers.discard(worker)

    def _on_signal(self, signum: int, signals: "itertools.count[int]") -> None:
        if next(signals):
            for worker in self._workers:
                send_signal(worker.process.pid, signal.SIGKILL)
            os._exit(128 + signum)
        self._announcer.draining([], 0.0)
        self._stopped.set()


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
