"""The supervisor of `dockrion run --workers`: starts worker processes on shared sockets and replaces them."""

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from dockrion import metrics
from dockrion.backoff import Backoff
from dockrion.errors import StartError
from dockrion.logs import log
from dockrion.server.announcer import Announcer
from dockrion.server.sockets import Address, port_of
from dockrion.server.worker import READY, WorkerSlot
from dockrion.server.worker_process import send_signal, start_worker, terminate

_logger = logging.getLogger(__name__)
_PREFIX = "dockrion-metrics-"
_MEMORY = "/dev/shm"  # noqa: S108  its use is private; in containers it is writable on a read-only root, too
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_STABLE_SECONDS = 60.0  # a worker that lived as long is replaced at once, others after a back-off
_FIRST_DELAY = 0.5  # seconds
_LONGEST_DELAY = 30.0
_FAILED_STARTS = 10  # of each worker, while none is ready; then the service is left to what started it


def supervise(
    arguments: Sequence[str], address: Address, *, workers: int, announcer: Announcer | None = None
) -> int:
    """Serve with several worker processes until a signal ends them.

    Args:
        arguments: The arguments of `dockrion run` in each worker.
        address: Where to listen.
        workers: How many.
        announcer: Tells a person what the service does.

    Returns:
        The exit code: 0 if all workers ended with 0; 1 if no worker could be started.

    Raises:
        StartError: The address is taken, or a temporary directory cannot be made.
    """
    return asyncio.run(_Supervisor(arguments, workers, announcer or Announcer()).run(address))


class _Supervisor:
    """Starts workers, replaces those that die, and passes signals on to them."""

    def __init__(self, arguments: Sequence[str], workers: int, announcer: Announcer) -> None:
        self._arguments = arguments
        self._workers = workers
        self._announcer = announcer
        self._sockets: list[socket.socket] = []
        self._directory = ""
        self._processes: set[Process] = set()
        self._any_ready = asyncio.Event()  # set for good once a worker has been ready
        self._ready: set[int] = set()  # process ids
        self._certificate_changed = False
        self._failed_starts = 0  # since a worker was ready
        self._shutting_down = asyncio.Event()

    async def run(self, address: Address) -> int:
        """Keep all workers running until the shutdown, and return the exit code."""
        loop = asyncio.get_running_loop()
        for signum in _SIGNALS:
            loop.add_signal_handler(signum, self._shut_down)
        if address.tls is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reload_certificate)
        with _shared_directory() as self._directory:
            async with address.listen() as self._sockets:
                self._announcer.listening(address, port_of(self._sockets))
                codes = await self._run_all()
        self._announcer.ended()
        first_failed = not self._shutting_down.is_set()
        if first_failed or self._start_limit_reached:
            log(_logger, logging.ERROR, "no worker can be started", failed_starts=self._failed_starts)
            return 1
        # A worker that has no signal handlers yet dies of the signal, which is as clean.
        failed = (code for code in codes if code not in (0, *(-signum for signum in _SIGNALS)))
        return next((code if code > 0 else 128 - code for code in failed), 0)

    async def _run_all(self) -> list[int]:
        # The first one alone, until it is ready: an error at its start would be every worker's.
        first = asyncio.create_task(self._keep_running(0))
        ready = asyncio.create_task(self._any_ready.wait())
        await asyncio.wait((first, ready), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        others = range(1, self._workers) if self._any_ready.is_set() else ()
        return await asyncio.gather(first, *map(self._keep_running, others))

    async def _keep_running(self, number: int) -> int:
        """Keep a worker in a slot until the shutdown, and return the exit code of the last."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(_FIRST_DELAY, _LONGEST_DELAY)
        while not self._shutting_down.is_set():
            started_at = loop.time()
            try:
                code = await self._run_worker(number)
            except OSError as error:  # no memory or no descriptors, which may be temporary
                log(_logger, logging.ERROR, "worker not started", reason=str(error))
                self._count_failed_start()
                code = 1
            if self._shutting_down.is_set() or not self._any_ready.is_set():
                return code
            if loop.time() - started_at >= _STABLE_SECONDS:
                backoff.reset()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff.next()):
                    await self._shutting_down.wait()
        return 0

    async def _run_worker(self, number: int) -> int:
        """Run one worker, and return its exit code."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                process = await self._start(number, theirs)
            self._processes.add(process)
            if self._shutting_down.is_set():  # it has missed the signal that the others got
                terminate(process)
            ready = asyncio.create_task(self._log_ready(ours, process.pid))
            code = await process.wait()
            self._processes.discard(process)
            ready.cancel()
            await asyncio.wait((ready,))
        if process.pid in self._ready:
            self._ready.discard(process.pid)
        else:
            self._count_failed_start()
        metrics.discard_process(self._directory, number)
        if not self._shutting_down.is_set():
            log(_logger, logging.ERROR, "worker died", worker=process.pid, exit_code=code)
        return code

    async def _start(self, number: int, lifeline: socket.socket) -> Process:
        listening = [each.fileno() for each in self._sockets]
        first = not self._any_ready.is_set()
        slot = WorkerSlot(number, lifeline.fileno(), listening, self._directory, first=first)
        return await start_worker(slot, self._arguments)

    async def _log_ready(self, lifeline: socket.socket, pid: int) -> None:
        with suppress(OSError):  # the worker has died
            if await asyncio.get_running_loop().sock_recv(lifeline, 1) == READY:
                log(_logger, logging.INFO, "worker ready", worker=pid)
                self._ready.add(pid)
                self._failed_starts = 0
                if self._certificate_changed:  # maybe after the worker has read it
                    send_signal(pid, signal.SIGHUP)
                if not self._any_ready.is_set():
                    self._announcer.ready()
                self._any_ready.set()

    def _reload_certificate(self) -> None:
        self._certificate_changed = True
        for pid in self._ready:  # the signal would end one that has no handler for it yet
            send_signal(pid, signal.SIGHUP)

    def _count_failed_start(self) -> None:
        """Shut down if this was one of too many in a row; while a worker serves, there are never too many."""
        if self._ready or self._shutting_down.is_set():
            return
        self._failed_starts += 1
        if self._start_limit_reached:
            self._shut_down()

    @property
    def _start_limit_reached(self) -> bool:
        return self._failed_starts >= _FAILED_STARTS * self._workers

    def _shut_down(self) -> None:
        if not self._shutting_down.is_set():
            self._announcer.draining([], 0.0)
        self._shutting_down.set()
        for each in self._sockets:
            each.close()
        for process in self._processes:
            terminate(process)


@contextmanager
def _shared_directory() -> Iterator[str]:
    """Make a directory for the workers' metrics, and remove those of supervisors that were killed."""
    with ExitStack() as owned:
        directory = _new_directory(owned)
        for other in Path(directory).parent.glob(f"{_PREFIX}*"):
            with suppress(OSError), _locked(other):  # nobody uses it
                shutil.rmtree(other)
        yield directory


def _new_directory(owned: ExitStack) -> str:
    """Make a directory and lock it; both end with `owned`."""
    while True:
        directory = owned.enter_context(_temporary_directory())
        try:
            owned.enter_context(_locked(Path(directory)))
        except (
            BlockingIOError,
            FileNotFoundError,
        ):  # another supervisor removes it, as it was not locked yet
            continue
        except OSError:  # a file system without locks
            return directory
        if Path(directory).is_dir():
            return directory


def _temporary_directory() -> TemporaryDirectory[str]:
    """Make a directory where temporary files go, or else in memory."""
    try:
        return TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        with suppress(OSError):
            return TemporaryDirectory(prefix=_PREFIX, dir=_MEMORY, ignore_cleanup_errors=True)
        raise StartError(
            f"workers share their metrics in a temporary directory, which cannot be made: {error}; "
            "make /tmp writable (--tmpfs /tmp for a container), or name another directory in TMPDIR"
        ) from error


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock a directory until its user ends, however it ends; cleaners of /tmp respect that (tmpfiles.d(5)).

    Raises:
        OSError: Another process has locked it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
