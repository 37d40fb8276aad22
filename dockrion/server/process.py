"""One serving process: from its first socket to its exit code."""

import asyncio
import gc
import itertools
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from types import FrameType
from typing import cast

from aiohttp import web

from dockrion.dockfile import Loaded
from dockrion.logs import log
from dockrion.server.acceptor import Acceptor
from dockrion.server.announcer import Announcer
from dockrion.server.sockets import Address, address_of, ip_addresses, port_of
from dockrion.server.worker import BROKEN, READY, Worker
from dockrion.signals import waking
from dockrion.tls import shrink_buffers
from dockrion.web.aiohttp_internals import connection_factory, ignore_malformed_requests
from dockrion.web.app import create_app
from dockrion.web.reload_mode import ReloadMode
from dockrion.web.service import SERVICE, Role

_logger = logging.getLogger(__name__)
GRACE_SECONDS = 30.0
_CONNECTIONS_END_SECONDS = 1.0  # all runs and streams are over by then; only late requests are left
_EXIT_SECONDS = 3.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    loaded: Loaded,
    address: Address,
    *,
    role: Role = "all",
    worker: Worker | None = None,
    grace: float = GRACE_SECONDS,
    announcer: Announcer | None = None,
    reload: ReloadMode | None = None,
) -> None:
    """Serve a Dockfile until a signal ends it.

    Args:
        loaded: The Dockfile, validated.
        address: Where to listen, with what encryption; a worker serves its supervisor's sockets instead.
        role: What this process serves.
        worker: This process as a worker, if it has a supervisor.
        grace: How long runs may go on after the signal, in seconds.
        announcer: Tells a person what the process does.
        reload: What is different because the service is restarted at each change of its files.

    Raises:
        StartError: The address is taken, or the agent cannot be loaded.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    make_app = partial(create_app, loaded, role, reload)
    task = loop.create_task(_serve(make_app, address, worker, grace, announcer or Announcer()))
    try:
        with waking(loop):
            while not task.done():
                try:
                    loop.run_until_complete(task)
                except BaseException as error:
                    if task.done():
                        raise
                    # An agent's task or signal handler raised this, or stopped the loop. That may end its
                    # run, but not the service.
                    log(_logger, logging.ERROR, "the agent tried to end the service", error=error)
        task.result()
    finally:
        _close_loop(loop)


def exit_within(code: int, seconds: float = _EXIT_SECONDS) -> None:
    """Exit soon in any case: agent threads that never end would block the interpreter's exit.

    Args:
        code: The exit code.
        seconds: How long a normal exit may take.
    """

    def exit_now() -> None:
        os._exit(code)

    timer = threading.Timer(seconds, exit_now)
    timer.daemon = True
    timer.start()


async def _serve(
    make_app: Callable[[], web.Application],
    address: Address,
    worker: Worker | None,
    grace: float,
    announcer: Announcer,
) -> None:
    stopped = _stopped_by_signal()
    if address.tls is not None:
        shrink_buffers()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, address.tls.reload)
    accepting = ExitStack()
    if worker is not None:
        orphaned = partial(_on_orphaned, worker, accepting, stopped)
        worker.watch_supervisor(partial(asyncio.get_running_loop().call_soon_threadsafe, orphaned), grace)
    ignore_malformed_requests()
    app = make_app()
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_CONNECTIONS_END_SECONDS)
    await runner.setup()
    listening = AsyncExitStack()
    listening.enter_context(accepting)
    try:
        service, server = app[SERVICE], cast("web.Server", runner.server)
        factory = connection_factory(server, service.dockfile.limits, service.write_seconds)

        def accept(sockets: list[socket.socket]) -> None:
            service.cross_origin.listen_on(address.host, ip_addresses(sockets))
            service.address = address_of(sockets)
            for each in sockets:
                tls = None if each.family == socket.AF_UNIX else address.tls
                accepting.callback(Acceptor(each, factory, tls).close)

        if worker is None:
            sockets = await listening.enter_async_context(address.listen())
            accept(sockets)
            announcer.listening(address, port_of(sockets))
        elif worker.slot.first:
            accept(worker.sockets)
        await asyncio.wait((stopped, service.loading), return_when=asyncio.FIRST_COMPLETED)
        if service.loading.done():
            service.loading.result()
            _tune_garbage_collector()
            if worker is not None and not stopped.done():
                if not worker.slot.first:  # other workers serve until this one is ready
                    accept(worker.sockets)
                worker.report(READY if service.runs.agent else BROKEN)
            if not stopped.done():
                announcer.ready()
            await stopped
        if service.reload is not None:
            accepting.close()  # requests wait for the next worker
        log(_logger, logging.INFO, "shutting down", grace_seconds=grace)
        announcer.draining(service.runs.in_flight_ids, grace)
        await service.drain(grace)
    finally:
        await listening.aclose()
        await runner.cleanup()
    log(_logger, logging.INFO, "shut down")
    announcer.ended()


def _on_orphaned(worker: Worker, accepting: ExitStack, stopped: asyncio.Future[None]) -> None:
    """Shut down a worker without a supervisor; another supervisor can listen on the address at once."""
    accepting.close()
    worker.close_sockets()
    _complete(stopped)


def _tune_garbage_collector() -> None:
    """Exclude what is loaded for good from garbage collections, and make them rarer.

    They took a tenth of the CPU time of a short run, because each stored run triggers full collections.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _stopped_by_signal() -> asyncio.Future[None]:
    """Return a future that the first signal completes; a second signal exits at once."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()
    signals = itertools.count()

    # Not with loop.add_signal_handler: an agent that blocks the loop would delay its handlers.
    def handle(signum: int, _frame: FrameType | None) -> None:
        if next(signals):
            os._exit(128 + signum)
        loop.call_soon_threadsafe(_complete, stopped)

    for signum in _SIGNALS:
        signal.signal(signum, handle)
    return stopped


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop without waiting for tasks that agents left on it."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    with suppress(TimeoutError):
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), 1))
    asyncio.set_event_loop(None)
    loop.close()
