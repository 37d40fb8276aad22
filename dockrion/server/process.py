"""One process that serves: from the first socket to the exit code."""

import asyncio
import gc
import itertools
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import FrameType
from typing import cast

from aiohttp import web

from dockrion.dockfile import Loaded
from dockrion.logs import log
from dockrion.server.sockets import BACKLOG, Address
from dockrion.server.worker import Worker
from dockrion.web.aiohttp_internals import ConnectionHandler, connection_factory, ignore_malformed_requests
from dockrion.web.app import create_app
from dockrion.web.service import SERVICE

_logger = logging.getLogger(__name__)
GRACE_SECONDS = 30.0
_CONNECTIONS_END_SECONDS = 1.0  # all work is over by then; what is left are late requests
_EXIT_SECONDS = 3.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    loaded: Loaded, address: Address, *, worker: Worker | None = None, grace: float = GRACE_SECONDS
) -> None:
    """Serve a Dockfile until a signal ends it.

    Args:
        loaded: The Dockfile, checked.
        address: Where to listen.
        worker: What this process is; it listens where its supervisor does, then.
        grace: Seconds that running agents get after the signal.

    Raises:
        StartError: The address is taken, or the agent cannot be loaded.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    task = loop.create_task(_serve(loaded, address, worker, grace))
    try:
        while not task.done():
            try:
                loop.run_until_complete(task)
            except BaseException as error:
                if task.done():
                    raise
                # Out of an agent's own task or signal handler, or it stopped the loop: that may
                # end its run, not the service.
                log(_logger, logging.ERROR, "the agent tried to end the service", error=error)
        task.result()
    finally:
        _leave_behind(loop)


def exit_within(code: int, seconds: float = _EXIT_SECONDS) -> None:
    """Exit soon whatever happens: agents' threads that never end would hold the interpreter.

    Args:
        code: The exit code.
        seconds: How long a normal exit may take.
    """

    def exit_now() -> None:
        os._exit(code)

    timer = threading.Timer(seconds, exit_now)
    timer.daemon = True
    timer.start()


async def _serve(loaded: Loaded, address: Address, worker: Worker | None, grace: float) -> None:
    ended = _on_signal()
    if worker is not None:
        worker.watch(partial(asyncio.get_running_loop().call_soon_threadsafe, _complete, ended), grace)
    ignore_malformed_requests()
    app = create_app(loaded)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_CONNECTIONS_END_SECONDS)
    await runner.setup()
    listening = AsyncExitStack()
    try:
        service, server = app[SERVICE], cast("web.Server", runner.server)
        accept = partial(
            _accept, listening, connection_factory(server, loaded.dockfile.limits, service.write_seconds)
        )
        loading = service.loading
        if worker is None:
            await accept(await listening.enter_async_context(address.bound()))
        elif worker.place.alone:
            await accept(worker.sockets())
        await asyncio.wait((ended, loading), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            _collect_less()
            if worker is not None:
                if not worker.place.alone:  # others answer until this one can
                    await accept(worker.sockets())
                worker.ready()
            await ended
        log(_logger, logging.INFO, "shutting down", grace_seconds=grace)
        await service.drain(grace)
    finally:
        await listening.aclose()
        await runner.cleanup()
    log(_logger, logging.INFO, "shut down")


def _collect_less() -> None:
    """Let the garbage collector leave alone what is loaded for good, and come less often.

    A tenth of the CPU of a short run was its: every run that is kept makes it look at all again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _accept(
    listening: AsyncExitStack, protocol: Callable[[], ConnectionHandler], sockets: Iterable[socket.socket]
) -> None:
    """Serve on some sockets, until nothing listens any more."""
    loop = asyncio.get_running_loop()
    for each in sockets:
        server = await loop.create_server(protocol, sock=each, backlog=BACKLOG)
        listening.callback(server.close)


def _on_signal() -> asyncio.Future[None]:
    """Return a future that the first signal completes; a second signal exits at once."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    signals = itertools.count()

    # Not the loop's own handlers: an agent that blocks the loop would hold those back.
    def end(signum: int, _frame: FrameType | None) -> None:
        if next(signals):
            os._exit(128 + signum)
        loop.call_soon_threadsafe(_complete, ended)

    for signum in _SIGNALS:
        signal.signal(signum, end)
    return ended


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _leave_behind(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop without waiting for what agents left on it."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    with suppress(TimeoutError):
        loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), 1))
    asyncio.set_event_loop(None)
    loop.close()
