"""`dockrion run`: serve the agent of a Dockfile."""

import argparse
import logging
import os
import re
from functools import partial
from pathlib import Path
from typing import get_args

import msgspec

from dockrion import logs, metrics
from dockrion.commands.dockfile_options import (
    add_dockfile_options,
    exported,
    load_dockfile,
    refusals,
    unshared_runs,
)
from dockrion.commands.errors import print_error
from dockrion.commands.run_log import AUTO, LOG_FORMATS, RunLog, start_log
from dockrion.dockfile import Loaded
from dockrion.errors import StartError
from dockrion.printed_output import printed_output_logged
from dockrion.redaction import Redactor
from dockrion.runs.session import current_session
from dockrion.server.acceptor import raise_descriptor_limit
from dockrion.server.announcer import Announcer
from dockrion.server.process import GRACE_SECONDS, exit_within, serve
from dockrion.server.sockets import Address
from dockrion.server.worker import Worker, WorkerSlot
from dockrion.web import optional_parts
from dockrion.web.service import Role

_MAX_PORT = 65535
_MAX_WORKERS = 64
_MAX_GRACE = 86_400  # seconds
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_logger = logging.getLogger(__name__)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion run`."""
    add_dockfile_options(parser)
    parser.add_argument("--host", help="listen on this host (default: expose.host)")
    parser.add_argument(
        "--port", type=_port, help="listen on this port, 0 for any free (default: expose.port)"
    )
    parser.add_argument("--uds", type=Path, metavar="PATH", help="listen on this unix socket instead")
    parser.add_argument(
        "--workers",
        type=_worker_count,
        default=1,
        help="number of processes that share the port; needs the redis backend (default: 1)",
    )
    parser.add_argument(
        "--role",
        choices=get_args(Role),
        default="all",
        help="api accepts, streams and answers, worker executes runs; they need the redis backend and each "
        "other (default: all)",
    )
    parser.add_argument(
        "--grace",
        type=_grace,
        metavar="SECONDS",
        help=f"seconds for which runs may go on after SIGTERM (default: {GRACE_SECONDS:.0f})",
    )
    parser.add_argument(
        "--reload",
        action="store_true",
        help="restart the agent when its files, the Dockfile or its variables are saved",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the page in a browser once the agent is ready"
    )
    parser.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        default=AUTO,
        help="JSON or text, in colours unless NO_COLOR is set; auto is text on a terminal (default: auto)",
    )
    parser.add_argument("--worker-slot", type=_worker_slot, help=argparse.SUPPRESS)  # from the supervisor
    parser.set_defaults(command=_run)


def _port(text: str) -> int:
    return _integer(text, 0, _MAX_PORT)


def _worker_count(text: str) -> int:
    return _integer(text, 1, _MAX_WORKERS)


def _grace(text: str) -> float:
    if not (_SECONDS.fullmatch(text) and float(text) <= _MAX_GRACE):
        raise argparse.ArgumentTypeError(f"expected 0 to {_MAX_GRACE}, got {text}")
    return float(text)


def _integer(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"expected {low} to {high}, got {text}")
    return int(text)


def _worker_slot(text: str) -> WorkerSlot:
    try:
        return msgspec.json.decode(text, type=WorkerSlot)
    except msgspec.MsgspecError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(options: argparse.Namespace) -> int:
    if options.worker_slot is not None and options.worker_slot.reloaded:
        from dockrion.commands.run_reload import serve_reloaded  # noqa: PLC0415  memory

        return serve_reloaded(options)
    if options.reload and options.workers > 1:
        raise StartError("--reload serves with one process: leave out --workers, or --reload")
    if options.reload and options.grace is not None:
        raise StartError("--reload does not wait for runs: leave out --grace, or --reload")
    if options.open and options.role == "worker":
        raise StartError("a worker has no page: leave out --open, or --role worker")
    loaded = load_dockfile(options)
    refused = refusals(loaded) + unshared_runs(loaded, options.role, workers=options.workers)
    if refused:
        raise StartError("\n".join(refused))
    redactor = Redactor(loaded.confidential)
    log = start_log(
        loaded,
        redactor,
        role=options.role,
        log_format=options.log_format,
        shared=options.worker_slot is not None or options.workers > 1 or options.reload,
        supervised=options.worker_slot is not None,
        worker=None if options.worker_slot is None else os.getpid(),
    )
    if options.open and loaded.dockfile.expose.rest:
        from dockrion.commands.browser import OpeningAnnouncer  # noqa: PLC0415  memory

        log = log._replace(announcer=OpeningAnnouncer(log.announcer))
    if options.worker_slot is None and "NOTIFY_SOCKET" in os.environ:
        from dockrion.server.systemd import NotifyingAnnouncer  # noqa: PLC0415  memory

        log = log._replace(announcer=NotifyingAnnouncer(log.announcer))
    if options.reload:
        return _reload(options, loaded, log)
    if options.worker_slot is None:  # a worker leaves this to its supervisor
        for warning in loaded.warnings:
            logs.log(_logger, logging.WARNING, str(warning))
        if names := sorted(loaded.agent_environment):
            logs.log(_logger, logging.INFO, "variables set in the agent's environment", names=names)
    try:
        if options.workers > 1:
            return _supervise(options, loaded, log)
        with printed_output_logged(log.handler, redactor, current_session):
            return _serve(options, loaded, log.announcer)
    except StartError as error:
        exit_within(1)
        return print_error(error, redactor, verbose=options.verbose)


def _reload(options: argparse.Namespace, loaded: Loaded, log: RunLog) -> int:
    from dockrion.commands.run_reload import supervise_reloading  # noqa: PLC0415  memory

    raise_descriptor_limit()
    arguments = [f"--log-format={log.format}", *_worker_arguments(options)]
    return supervise_reloading(options, arguments, _address(options, loaded), log.announcer)


def _supervise(options: argparse.Namespace, loaded: Loaded, log: RunLog) -> int:
    from dockrion.server.supervisor import supervise  # noqa: PLC0415  memory

    raise_descriptor_limit()
    arguments = [f"--log-format={log.format}", *_worker_arguments(options)]
    address = _address(options, loaded)
    return supervise(arguments, address, workers=options.workers, announcer=log.announcer)


def _serve(options: argparse.Namespace, loaded: Loaded, announcer: Announcer) -> int:
    raise_descriptor_limit()
    grace = GRACE_SECONDS if options.grace is None else options.grace
    serve_agent = partial(
        serve, loaded, _address(options, loaded), role=options.role, grace=grace, announcer=announcer
    )
    with exported(loaded.agent_environment):
        if options.worker_slot is None:
            serve_agent()
        else:
            metrics.enable_multiprocess(options.worker_slot.directory, options.worker_slot.number)
            worker = Worker(options.worker_slot)
            try:
                serve_agent(worker=worker)
            finally:
                worker.close()
    exit_within(0)
    return 0


def _address(options: argparse.Namespace, loaded: Loaded) -> Address:
    expose = loaded.dockfile.expose
    port = expose.port if options.port is None else options.port
    return Address(options.host or expose.host, port, options.uds, optional_parts.tls(loaded))


def _worker_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments of `dockrion run` in a worker, except its slot."""
    arguments = [f"--env-file={options.env_file}"] if options.env_file else []
    arguments += [f"--host={options.host}"] if options.host else []
    arguments += [] if options.grace is None else [f"--grace={options.grace}"]
    arguments.append(f"--role={options.role}")
    return [*arguments, *(["--verbose"] if options.verbose else []), "--", str(options.dockfile)]
