"""The command line: finds the command and reports its errors."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import dockrion
from dockrion.commands.errors import print_error
from dockrion.errors import StartError
from dockrion.redaction import Redactor

_COMMANDS = {  # imported when they are used: a server does without the memory of the others
    "init": ("dockrion.commands.init", "write the files of a new agent"),
    "run": ("dockrion.commands.run", "serve the agent"),
    "validate": ("dockrion.commands.validate", "check a Dockfile and print a summary"),
    "openapi": ("dockrion.commands.openapi", "print the API as OpenAPI 3.1"),
    "invoke": ("dockrion.console.commands", "invoke the agent and show its events and its output"),
    "watch": ("dockrion.console.commands", "show the events of a run, from its first one"),
    "load": ("dockrion.load.command", "load-test a service and verify what it delivers"),
}


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
        return print_error(error, Redactor(), verbose=options.verbose)
    except BrokenPipeError:  # the reader of a pipe may leave
        # The interpreter flushes stdout at its exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dockrion", description="Serve an AI agent from a Dockfile.")
    parser.add_argument("--version", action="version", version=f"dockrion {dockrion.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, purpose) in _COMMANDS.items():
        subparser = commands.add_parser(name, help=purpose)
        if name == command:
            getattr(import_module(module), f"add_{name}")(subparser)
    return parser
