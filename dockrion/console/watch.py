"""`dockrion watch`."""

import argparse

from dockrion.console.arguments import add_common
from dockrion.console.commands import follow
from dockrion.ids import RUN_ID_PATTERN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be asked for."""
    parser.add_argument("run_id", type=_run_id, metavar="RUN_ID", help="the run, of which all is shown")
    add_common(parser)


def run(options: argparse.Namespace) -> int:
    """Show a run from its beginning, until it is over.

    Returns:
        The exit code: 0 where it is complete, else 1.
    """
    return follow(options, lambda client: client.events(options.run_id), cancel=False)


def _run_id(text: str) -> str:
    if not RUN_ID_PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError("expected 1 to 128 letters, digits, '-' and '_'")
    return text
