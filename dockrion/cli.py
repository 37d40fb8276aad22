"""The command line."""

import argparse
import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import msgspec

import dockrion
from dockrion import logs, metrics
from dockrion.agents.loading import refusals
from dockrion.dockfile import DockfileError, Loaded, load, summary, unserved
from dockrion.errors import StartError
from dockrion.redaction import Redactor
from dockrion.server.process import exit_within, serve
from dockrion.server.sockets import Address
from dockrion.server.worker import Place, Worker
from dockrion.web.docs import Description
from dockrion.web.routes import routes

_OF_CLIENTS = {
    "invoke": ("dockrion.console.invoke", "ask the agent, and show what it does"),
    "watch": ("dockrion.console.watch", "show a run from its beginning"),
    "load": ("dockrion.load.command", "load a service, and check what it promises"),
}
_MAX_PORT = 65535
_MAX_WORKERS = 64
_logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Those after the program's name; those of this process by default.

    Returns:
        The exit code: 0, or 1 when the Dockfile or the start is wrong, or what a client asked for went wrong.
        A wrong usage exits with 2.
    """
    asked = sys.argv[1:] if arguments is None else arguments
    options = _parser(next(iter(asked), "")).parse_args(asked)
    try:
        code: int = options.command(options)
    except StartError as error:
        return _failed(error, Redactor(), verbose=options.verbose)
    return code


def _failed(error: StartError, redactor: Redactor, *, verbose: bool) -> int:
    for warning in error.warnings if isinstance(error, DockfileError) else ():
        print(f"warning: {warning}", file=sys.stderr)
    print(redactor.mask(str(error)), file=sys.stderr)
    if verbose:
        print(redactor.mask("".join(traceback.format_exception(error))), file=sys.stderr)
    return 1


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
        help="by default Dockfile.yaml",
    )
    common.add_argument("--env-file", type=Path, metavar="FILE", help="variables for ${VAR} and secrets")
    common.add_argument("--verbose", action="store_true", help="show tracebacks of errors at the start")

    run = commands.add_parser("run", parents=[common], help="serve the agent")
    run.add_argument("--host", help="listen here instead of expose.host")
    run.add_argument("--port", type=_port, help="listen here instead of expose.port; 0 for any free port")
    run.add_argument("--uds", type=Path, metavar="PATH", help="listen on this unix socket instead")
    run.add_argument(
        "--workers", type=_workers, default=1, help="processes that share the port; needs the redis backend"
    )
    run.add_argument("--place", type=_place, help=argparse.SUPPRESS)  # of a worker, from its supervisor
    run.set_defaults(command=_run)

    validate = commands.add_parser("validate", parents=[common], help="check a Dockfile and sum it up")
    validate.add_argument("--schema", action="store_true", help="print the JSON Schema of Dockfiles instead")
    validate.set_defaults(command=_validate)

    openapi = commands.add_parser("openapi", parents=[common], help="print the API as OpenAPI 3.1")
    openapi.set_defaults(command=_openapi)

    for name, (module, purpose) in _OF_CLIENTS.items():
        client = commands.add_parser(name, help=purpose)
        if name == command:  # those who serve do without
            implementation = import_module(module)
            implementation.add_arguments(client)
            client.set_defaults(command=implementation.run)
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_PORT):
        raise argparse.ArgumentTypeError(f"expected 0 to {_MAX_PORT}, got {text}")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"expected 1 to {_MAX_WORKERS}, got {text}")
    return int(text)


def _place(text: str) -> Place:
    try:
        return msgspec.json.decode(text, type=Place)
    except msgspec.MsgspecError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(options: argparse.Namespace) -> int:
    loaded = load(options.dockfile, env_file=options.env_file, environ=os.environ)
    _refuse_unserved(loaded)
    _refuse_split(loaded, options.workers)
    redactor = Redactor(loaded.confidential)
    level = loaded.dockfile.observability.log_level
    if options.place is None:
        logs.configure(level, redactor)
        for warning in loaded.warnings:
            logs.log(_logger, logging.WARNING, str(warning))
    else:
        logs.configure(level, redactor, worker=os.getpid())
    try:
        return _serve(options, loaded)
    except StartError as error:
        exit_within(1)
        return _failed(error, redactor, verbose=options.verbose)


def _serve(options: argparse.Namespace, loaded: Loaded) -> int:
    expose = loaded.dockfile.expose
    port = expose.port if options.port is None else options.port
    address = Address(options.host or expose.host, port, options.uds)
    if options.workers > 1:
        from dockrion.server.supervisor import supervise  # noqa: PLC0415  as the load test

        return supervise(_again(options), address, workers=options.workers)
    os.environ.update(loaded.secrets)
    if options.place is None:
        serve(loaded, address)
    else:
        metrics.enable_multiprocess(options.place.directory, options.place.number)
        worker = Worker(options.place)
        try:
            serve(loaded, address, worker=worker)
        finally:
            worker.close()
    exit_within(0)
    return 0


def _again(options: argparse.Namespace) -> list[str]:
    """Return the arguments of `dockrion run` in a worker, its place aside."""
    arguments = [f"--env-file={options.env_file}"] if options.env_file else []
    return [*arguments, *(["--verbose"] if options.verbose else []), "--", str(options.dockfile)]


def _refuse_unserved(loaded: Loaded) -> None:
    lines = unserved(loaded)
    if loaded.missing_secrets:
        names = ", ".join(loaded.missing_secrets)
        lines.append(f"{loaded.path}: secrets.required: not set: {names}; set them, or name an --env-file")
    lines += [f"{loaded.path}: {line}" for line in loaded.credentials.missing]
    if lines:
        raise StartError("\n".join(lines))


def _refuse_split(loaded: Loaded, workers: int) -> None:
    if workers > 1 and loaded.dockfile.streaming.backend == "memory":
        raise StartError(
            f"{loaded.path}: streaming.backend: memory keeps runs in one process, where --workers {workers} "
            "would not find each other's; use redis, or one worker"
        )


def _validate(options: argparse.Namespace) -> int:
    if options.schema:
        from dockrion.dockfile.reference import json_schema  # noqa: PLC0415  as the load test

        print(msgspec.json.format(msgspec.json.encode(json_schema())).decode())
        return 0
    loaded = load(options.dockfile, env_file=options.env_file, environ=os.environ)
    redactor = Redactor(loaded.confidential)
    warnings = [*map(str, loaded.warnings), *_refusals(loaded)]
    for warning in warnings:
        print(redactor.mask(f"warning: {warning}"), file=sys.stderr)
    endpoints = (f"{route.method} {route.path}" for route in routes(loaded.dockfile))
    print(redactor.mask(summary(loaded, endpoints)))
    return 0


def _openapi(options: argparse.Namespace) -> int:
    loaded = load(options.dockfile, env_file=options.env_file, environ=os.environ)
    endpoints = [route.endpoint for route in routes(loaded.dockfile)]
    print(msgspec.json.format(Description(loaded, endpoints).openapi).decode())
    return 0


def _refusals(loaded: Loaded) -> list[str]:
    """Return what `run` would refuse."""
    lines: list[str] = []
    try:
        _refuse_unserved(loaded)
    except StartError as error:
        lines += str(error).splitlines()
    if not loaded.credentials.missing:
        lines += _unfit_keys(loaded)
    os.environ.update(loaded.secrets)
    return lines + asyncio.run(refusals(loaded.dockfile, loaded.path.parent))


def _unfit_keys(loaded: Loaded) -> list[str]:
    from dockrion.auth.factory import create_authenticator  # noqa: PLC0415  as the load test

    try:
        create_authenticator(loaded.dockfile.auth, loaded.credentials)
    except StartError as error:
        return [f"{loaded.path}: {line}" for line in str(error).splitlines()]
    return []
