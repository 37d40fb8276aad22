"""`dockrion invoke`."""

import argparse

import msgspec

from dockrion.console.arguments import add_common, payload
from dockrion.console.commands import follow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be asked for."""
    parser.add_argument(
        "payload",
        type=payload,
        nargs="?",
        default="{}",
        metavar="JSON|@FILE|-",
        help="what the agent gets, - for the standard input; by default {}",
    )
    add_common(parser)


def run(options: argparse.Namespace) -> int:
    """Send the payload to the agent, and show what it does.

    Returns:
        The exit code: 0 where it answered, else 1.
    """
    return follow(options, lambda client: client.stream(msgspec.Raw(options.payload)), cancel=True)
