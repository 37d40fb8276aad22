"""The command line: `dockrion run`, `validate`, `openapi`, and the client commands."""

import argparse
import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path

import msgspec

import dockrion
from dockrion import logs, metrics
from dockrion.agents.handler_types import HandlerTypes
from dockrion.agents.loading import load_handler_types
from dockrion.dockfile import DockfileError, Loaded, load, summary, unserved
from dockrion.errors import StartError
from dockrion.printed_output import printed_output_logged
from dockrion.redaction import Redactor
from dockrion.runs.session import current_session
from dockrion.server.acceptor import raise_descriptor_limit
from dockrion.server.process import exit_within, serve
from dockrion.server.sockets import Address
from dockrion.server.worker import Worker, WorkerSlot
from dockrion.web.docs import Description
from dockrion.web.routes import routes
from dockrion.web.service import check_start

_CLIENT_COMMANDS = {  # imported when they are used: a server does without their memory
    "invoke": ("dockrion.console.commands", "invoke the agent and show its events and its output"),
    "watch": ("dockrion.console.commands", "show the events of a run, from its first one"),
    "load": ("dockrion.load.command", "load-test a service and verify what it delivers"),
}
_MAX_PORT = 65535
_MAX_WORKERS = 64
_logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments after the program's name; by default this process's.

    Returns:
        The exit code: 0, or 1 if the Dockfile is invalid, the service cannot start or a client command
        failed. Wrong usage exits with 2.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(next(iter(arguments), "")).parse_args(arguments)
    try:
        code: int = options.command(options)
        if sys.stdout is not None:  # as it is if it was closed at the start
            sys.stdout.flush()
    except StartError as error:
        return _print_error(error, Redactor(), verbose=options.verbose)
    except BrokenPipeError:  # the reader of a pipe may leave
        # The interpreter flushes stdout at its exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dockrion", description="Serve an AI agent from a Dockfile.")
    parser.add_argument("--version", action="version", version=f"dockrion {dockrion.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "dockfile",
        nargs="?",
        type=Path,
        default=Path("Dockfile.yaml"),
        metavar="DOCKFILE",
        help="the Dockfile (default: Dockfile.yaml)",
    )
    common.add_argument(
        "--env-file", type=Path, metavar="FILE", help="read variables for ${VAR} and secrets from this file"
    )
    common.add_argument("--verbose", action="store_true", help="print the traceback if the start fails")

    run = commands.add_parser("run", parents=[common], help="serve the agent")
    run.add_argument("--host", help="listen on this host (default: expose.host)")
    run.add_argument("--port", type=_port, help="listen on this port, 0 for any free (default: expose.port)")
    run.add_argument("--uds", type=Path, metavar="PATH", help="listen on this unix socket instead")
    run.add_argument(
        "--workers",
        type=_worker_count,
        default=1,
        help="number of processes that share the port; needs the redis backend (default: 1)",
    )
    run.add_argument("--worker-slot", type=_worker_slot, help=argparse.SUPPRESS)  # from the supervisor
    run.set_defaults(command=_run)

    validate = commands.add_parser("validate", parents=[common], help="check a Dockfile and print a summary")
    validate.add_argument("--schema", action="store_true", help="print the JSON Schema of Dockfiles instead")
    validate.set_defaults(command=_validate)

    openapi = commands.add_parser("openapi", parents=[common], help="print the API as OpenAPI 3.1")
    openapi.set_defaults(command=_openapi)

    for name, (module, purpose) in _CLIENT_COMMANDS.items():
        client = commands.add_parser(name, help=purpose)
        if name == command:
            getattr(import_module(module), f"add_{name}")(client)
    return parser


def _port(text: str) -> int:
    return _integer(text, 0, _MAX_PORT)


def _worker_count(text: str) -> int:
    return _integer(text, 1, _MAX_WORKERS)


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
    loaded = _load(options)
    refused = _refused(loaded) + _unshared_runs(loaded, options.workers)
    if refused:
        raise StartError("\n".join(refused))
    redactor = Redactor(loaded.confidential)
    level = loaded.dockfile.observability.log_level
    configure = partial(logs.configure, level, redactor, current_run=current_session)
    if options.worker_slot is not None:
        handler = configure(shared=True, worker=os.getpid())
    else:
        handler = configure(shared=options.workers > 1)
        for warning in loaded.warnings:  # a worker leaves this to its supervisor
            logs.log(_logger, logging.WARNING, str(warning))
        if names := sorted(loaded.agent_environment):
            logs.log(_logger, logging.INFO, "variables set in the agent's environment", names=names)
    try:
        if options.workers > 1:
            return _supervise(options, loaded)
        with printed_output_logged(handler, redactor, current_session):
            return _serve(options, loaded)
    except StartError as error:
        exit_within(1)
        return _print_error(error, redactor, verbose=options.verbose)


def _supervise(options: argparse.Namespace, loaded: Loaded) -> int:
    from dockrion.server.supervisor import supervise  # noqa: PLC0415  memory

    raise_descriptor_limit()
    return supervise(_worker_arguments(options), _address(options, loaded), workers=options.workers)


def _serve(options: argparse.Namespace, loaded: Loaded) -> int:
    raise_descriptor_limit()
    address = _address(options, loaded)
    with _exported(loaded.agent_environment):
        if options.worker_slot is None:
            serve(loaded, address)
        else:
            metrics.enable_multiprocess(options.worker_slot.directory, options.worker_slot.number)
            worker = Worker(options.worker_slot)
            try:
                serve(loaded, address, worker=worker)
            finally:
                worker.close()
    exit_within(0)
    return 0


def _address(options: argparse.Namespace, loaded: Loaded) -> Address:
    expose = loaded.dockfile.expose
    port = expose.port if options.port is None else options.port
    return Address(options.host or expose.host, port, options.uds)


@contextmanager
def _exported(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables in the process environment, and restore it at the end."""
    replaced = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables.keys() - replaced.keys():
            os.environ.pop(name, None)
        os.environ.update(replaced)


def _worker_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments of `dockrion run` in a worker, except its slot."""
    arguments = [f"--env-file={options.env_file}"] if options.env_file else []
    arguments += [f"--host={options.host}"] if options.host else []
    return [*arguments, *(["--verbose"] if options.verbose else []), "--", str(options.dockfile)]


def _validate(options: argparse.Namespace) -> int:
    if options.schema:
        from dockrion.dockfile.reference import json_schema  # noqa: PLC0415  memory

        print(msgspec.json.format(msgspec.json.encode(json_schema())).decode())
        return 0
    loaded = _load(options)
    redactor = Redactor(loaded.confidential)
    with _exported(loaded.agent_environment):
        findings = asyncio.run(check_start(loaded))
    refused = _refused(loaded) + findings.errors
    endpoints = (f"{route.method} {route.path}" for route in routes(loaded.dockfile))
    print(redactor.mask(summary(loaded, endpoints)), flush=True)
    warnings = [*loaded.warnings, *findings.warnings]
    for line in [*(f"warning: {warning}" for warning in warnings), *refused]:
        print(redactor.mask(line), file=sys.stderr)
    return 1 if refused else 0


def _openapi(options: argparse.Namespace) -> int:
    loaded = _load(options)
    redactor = Redactor(loaded.confidential)
    types = _handler_types(loaded)
    dockfile = msgspec.structs.replace(loaded.dockfile, io_schema=types.io_schema)
    endpoints = [route.endpoint for route in routes(dockfile)]
    print(msgspec.json.format(Description(redactor, endpoints).openapi(dockfile)).decode())
    for problem in types.problems:
        print(redactor.mask(f"warning: {problem}"), file=sys.stderr)
    return 0


def _handler_types(loaded: Loaded) -> HandlerTypes:
    """Return the types that the handler declares, if the Dockfile lacks a schema: else it is not imported."""
    io_schema = loaded.dockfile.io_schema
    if None not in (io_schema.input, io_schema.output):
        return HandlerTypes(None, io_schema)
    try:
        # What the agent prints is no part of the document.
        with _exported(loaded.agent_environment), redirect_stdout(sys.stderr):
            return asyncio.run(load_handler_types(loaded.dockfile, loaded.path.parent))
    except StartError as error:
        return HandlerTypes(None, io_schema, [str(error)])


def _load(options: argparse.Namespace) -> Loaded:
    return load(options.dockfile, env_file=options.env_file, environ=os.environ)


def _refused(loaded: Loaded) -> list[str]:
    """Return why `run` would refuse a valid Dockfile: what it cannot enforce, and what is not set."""
    lines = unserved(loaded)
    if loaded.missing_secrets:
        names = ", ".join(loaded.missing_secrets)
        lines.append(f"{loaded.path}: secrets.required: not set: {names}; set them, or name an --env-file")
    return lines + [f"{loaded.path}: {line}" for line in loaded.credentials.missing]


def _unshared_runs(loaded: Loaded, workers: int) -> list[str]:
    """Return why several workers cannot share the runs, if they cannot."""
    if workers == 1 or loaded.dockfile.streaming.backend != "memory":
        return []
    line = (
        f"{loaded.path}: streaming.backend: memory keeps runs in one process, so --workers {workers} cannot "
        "share them; use redis, or one worker"
    )
    return [line]


def _print_error(error: StartError, redactor: Redactor, *, verbose: bool) -> int:
    """Print an error, and return the exit code."""
    for warning in error.warnings if isinstance(error, DockfileError) else ():
        print(f"warning: {warning}", file=sys.stderr)
    print(redactor.mask(str(error)), file=sys.stderr)
    if verbose:
        print(redactor.mask("".join(traceback.format_exception(error))), file=sys.stderr)
    return 1
