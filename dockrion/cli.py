"""The command line: finds the command and reports its errors."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import dockrion
from dockrion.errors import StartError


class _Command(NamedTuple):
    """A command, whose module is imported when it is used: a server does without the memory of the others."""

    module: str
    purpose: str
    example: str


_COMMANDS = {
    "init": _Command(
        "dockrion.commands.init", "write the files of a new agent", "dockrion init my-agent --template chat"
    ),
    "run": _Command("dockrion.commands.run", "serve the agent", "dockrion run --host 127.0.0.1 --port 8081"),
    "validate": _Command(
        "dockrion.commands.validate",
        "check a Dockfile and print a summary",
        "dockrion validate Dockfile.yaml",
    ),
    "test": _Command(
        "dockrion.commands.test",
        "run the agent once, without a service",
        """dockrion test -p '{"name": "Ada"}' --stream""",
    ),
    "doctor": _Command(
        "dockrion.commands.doctor", "look for what is missing, and say what to do", "dockrion doctor"
    ),
    "openapi": _Command(
        "dockrion.commands.openapi", "print the API as OpenAPI 3.1", "dockrion openapi > openapi.json"
    ),
    "invoke": _Command(
        "dockrion.console.commands",
        "invoke the agent and show its events and its output",
        """dockrion invoke '{"name": "Ada"}' --url localhost:8080""",
    ),
    "watch": _Command(
        "dockrion.console.commands",
        "show the events of a run, from its first one",
        "dockrion watch my-first-run --url localhost:8080",
    ),
    "load": _Command(
        "dockrion.load.command",
        "load-test a service and verify what it delivers",
        """dockrion load localhost:8080 --payload '{"name": "Ada"}' --runs 50""",
    ),
    "completion": _Command(
        "dockrion.commands.completion",
        "print the script that completes commands in a shell",
        "source <(dockrion completion bash)",
    ),
    "version": _Command("dockrion.commands.version", "print the version", "dockrion version"),
}
_COMPLETION = "completion"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments after the program's name; by default this process's.

    Returns:
        The exit code: 0, or 1 if the Dockfile is invalid, the service cannot start or a client command
        failed. Wrong usage exits with 2.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = _parser(next(iter(arguments), "")).parse_args(arguments)
        code = _run(options)
        if sys.stdout is not None:  # as it is if it was closed at the start
            sys.stdout.flush()
    except KeyboardInterrupt:
        # No traceback; by the signal, since a shell ends a script whose command the user has interrupted.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of a pipe may leave
        # The interpreter flushes stdout at its exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = options.command(options)
    except StartError as error:
        from dockrion.commands.errors import print_error  # noqa: PLC0415  memory
        from dockrion.redaction import Redactor  # noqa: PLC0415  memory

        return print_error(error, Redactor(), verbose=options.verbose)
    return code


def _parser(command: str) -> argparse.ArgumentParser:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="dockrion",
        description="Serve an AI agent from a Dockfile.",
        epilog="example: dockrion init my-agent",
        formatter_class=as_written,
    )
    parser.add_argument("--version", action="version", version=f"dockrion {dockrion.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, purpose, example) in _COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=f"example: {example}",
            formatter_class=as_written,
        )
        if command in (name, _COMPLETION):
            getattr(import_module(module), f"add_{name}")(subparser)
    parser.set_defaults(parser=parser)  # which `completion` describes
    return parser
