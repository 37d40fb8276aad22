"""`dockrion version`: print which version this is."""

import argparse

import dockrion


def add_version(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion version`: there are none."""
    parser.set_defaults(command=_version, verbose=False)


def _version(_options: argparse.Namespace) -> int:
    print(f"dockrion {dockrion.__version__}")
    return 0
