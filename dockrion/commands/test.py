"""`dockrion test`: run the agent of a Dockfile once, without a service that others can call.

The run is that of a real service, so that nothing is different later: one in this process, which listens on
a socket in a private folder, lets everybody in, and keeps its runs in memory.
"""

import argparse
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Self

import aiohttp
import msgspec
from aiohttp import web
from msgspec.structs import replace

from dockrion import logs
from dockrion.client import Client, InputRequested, ResponseError
from dockrion.commands.dockfile_options import (
    add_dockfile_options,
    exported,
    load_dockfile,
    logger_levels,
    refusals,
)
from dockrion.commands.errors import print_error
from dockrion.console.arguments import payload
from dockrion.console.commands import INTERRUPTED, report_errors, show_run
from dockrion.console.questions import details
from dockrion.console.screen import Screen
from dockrion.dockfile import Loaded
from dockrion.errors import StartError
from dockrion.printed_output import printed_output_logged
from dockrion.redaction import Redactor
from dockrion.runs.session import current_session
from dockrion.server.process import exit_within
from dockrion.terminal.log_text import TextFormatter
from dockrion.terminal.style import shows_colours
from dockrion.web.app import create_app
from dockrion.web.service import SERVICE

_MAX_FOLDER_LENGTH = 60  # the path of a socket has to be short (unix(7))
_CONNECTIONS_END_SECONDS = 1.0
_STOPPED_SECONDS = 0.5  # when the user does not wait for the agent


def add_test(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion test`."""
    add_dockfile_options(parser)
    body = parser.add_mutually_exclusive_group()
    body.add_argument(
        *("-p", "--payload"),
        type=payload,
        default="{}",
        metavar="JSON",
        help="the agent's input, or - for standard input (default {})",
    )
    body.add_argument(
        *("-f", "--file"), type=_file, dest="payload", metavar="FILE", help="a file with the agent's input"
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="print events and output together, as `dockrion invoke` does, not events to stderr",
    )
    parser.set_defaults(command=_test)


def _file(path: str) -> bytes:
    return payload(f"@{path}")


def _test(options: argparse.Namespace) -> int:
    loaded = load_dockfile(options)
    if refused := refusals(loaded):
        raise StartError("\n".join(refused))
    output = Screen(sys.stdout, sys.stderr)
    screen = output if options.stream else Screen(sys.stderr, sys.stderr)
    redactor = Redactor(loaded.confidential)
    try:
        show = _run(_private(loaded, options), options.payload, redactor, screen, output)
        code = report_errors(show, screen)
    except StartError as error:
        code = print_error(error, redactor, verbose=options.verbose)
        exit_within(code)
    return code


def _private(loaded: Loaded, options: argparse.Namespace) -> Loaded:
    """Return the Dockfile for a service with one caller."""
    dockfile = loaded.dockfile
    streaming = replace(dockfile.streaming, backend="memory")
    expose = replace(dockfile.expose, rest=True, streaming="sse")
    events = streaming.events
    if not options.stream and 0 < dockfile.arguments.timeout_sec < events.max_run_duration:
        events = replace(events, max_run_duration=dockfile.arguments.timeout_sec)
    streaming = replace(streaming, events=events)
    return replace(loaded, dockfile=replace(dockfile, auth=None, expose=expose, streaming=streaming))


async def _run(loaded: Loaded, body: bytes, redactor: Redactor, screen: Screen, output: Screen) -> int:
    code = 1
    try:
        async with _logged(loaded, redactor), _service(loaded) as socket:
            code = await _show(loaded, socket, body, screen, output)
    finally:  # here, since the end of the event loop waits for an agent that does not stop
        exit_within(code)
    return code


async def _show(loaded: Loaded, socket: str, body: bytes, screen: Screen, output: Screen) -> int:
    async with _LocalClient(socket) as client:
        stream = client.stream(msgspec.Raw(body), resume=loaded.dockfile.streaming.async_runs)
        ask_elsewhere = client.cancel_unanswered
        try:
            code = await show_run(
                client, stream, screen, answer_command=ask_elsewhere, cancel=True, output=output
            )
        except ResponseError as error:
            screen.remark(f"refused: {error.message}{details(error)}")
            return 1
        if code == INTERRUPTED:
            exit_within(code, _STOPPED_SECONDS)
        return code


@asynccontextmanager
async def _logged(loaded: Loaded, redactor: Redactor) -> AsyncIterator[None]:
    """Give the agent its environment, and write what it prints and logs to stderr."""
    target = loaded.dockfile.agent.target
    formatter = partial(
        TextFormatter,
        colours=shows_colours(sys.stderr),
        agent_package=target.partition(":")[0].partition(".")[0],
    )
    with exported(loaded.agent_environment), redirect_stdout(sys.stderr):
        level = loaded.dockfile.observability.log_level
        quiet = {"dockrion": max(logs.LEVELS[level], logging.WARNING)}
        handler = logs.configure(
            level,
            redactor,
            current_run=current_session,
            formatter=formatter,
            logger_levels=quiet | logger_levels(loaded),
        )
        with printed_output_logged(handler, redactor, current_session):
            yield


@asynccontextmanager
async def _service(loaded: Loaded) -> AsyncIterator[str]:
    """Serve a Dockfile on a socket, whose path this yields.

    Raises:
        StartError: The agent cannot be loaded.
    """
    app = create_app(loaded)
    runner = web.AppRunner(
        app, handler_cancellation=True, shutdown_timeout=_CONNECTIONS_END_SECONDS, access_log=None
    )
    await runner.setup()
    service = app[SERVICE]
    try:
        await service.loading
        short = None if len(gettempdir()) < _MAX_FOLDER_LENGTH else "/tmp"  # noqa: S108  it is made private
        with TemporaryDirectory(prefix="dockrion-", dir=short) as folder:
            path = str(Path(folder) / "socket")
            await web.UnixSite(runner, path).start()
            yield path
        await service.drain(0)
    finally:
        await runner.cleanup()


class _LocalClient(Client):
    """A client of the service on a socket."""

    def __init__(self, socket: str) -> None:
        super().__init__("http://localhost", retry_timeout=0)
        self._socket = socket

    async def __aenter__(self) -> Self:
        self._transport.open(aiohttp.UnixConnector(self._socket, limit=0))
        return self

    def cancel_unanswered(self, question: InputRequested) -> str:
        """Cancel a run whose question nobody can answer, and return what to do instead."""
        self._transport.run_in_background(self.cancel(question.run_id, "nobody could answer its question"))
        return "use a terminal, or write a line for each answer to standard input"
