"""What the commands that take a Dockfile have in common: their arguments, and how they load it."""

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dockrion.dockfile import Loaded, load, unserved
from dockrion.logs import parse_logger_levels

_LOG_LEVELS = "DOCKRION_LOG_LEVELS"


def add_dockfile_options(parser: argparse.ArgumentParser) -> None:
    """Define the arguments that name a Dockfile and its environment."""
    parser.add_argument(
        "dockfile",
        nargs="?",
        type=Path,
        default=Path("Dockfile.yaml"),
        metavar="DOCKFILE",
        help="the Dockfile (default: Dockfile.yaml)",
    )
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help="read variables for ${VAR} and secrets from this file"
    )
    parser.add_argument("--verbose", action="store_true", help="print the traceback if the start fails")


def load_dockfile(options: argparse.Namespace) -> Loaded:
    """Load the Dockfile that the arguments name.

    Raises:
        DockfileError: It is not valid.
    """
    return load(options.dockfile, env_file=options.env_file, environ=os.environ)


def refusals(loaded: Loaded) -> list[str]:
    """Return why `run` would refuse a valid Dockfile: what it cannot enforce, and what is not set."""
    lines = unserved(loaded)
    if loaded.missing_secrets:
        names = ", ".join(loaded.missing_secrets)
        lines.append(f"{loaded.path}: secrets.required: not set: {names}; set them, or name an --env-file")
    lines += [f"{loaded.path}: {line}" for line in loaded.credentials.missing]
    try:
        logger_levels(loaded)
    except ValueError as error:
        lines.append(f"{_LOG_LEVELS}: {error}")
    return lines


def logger_levels(loaded: Loaded) -> dict[str, int]:
    """Return the levels of single loggers, as the variable `DOCKRION_LOG_LEVELS` sets them.

    Raises:
        ValueError: It has another form.
    """
    return parse_logger_levels(os.environ.get(_LOG_LEVELS) or loaded.agent_environment.get(_LOG_LEVELS, ""))


def unshared_runs(loaded: Loaded, role: str, *, workers: int = 1) -> list[str]:
    """Return why several processes cannot share the runs, if they cannot.

    Args:
        loaded: The Dockfile.
        role: What the processes serve.
        workers: How many there are.
    """
    if loaded.dockfile.streaming.backend != "memory":
        return []
    reason = f"{loaded.path}: streaming.backend: memory keeps runs in one process, so"
    lines = []
    if workers > 1:
        lines.append(f"{reason} --workers {workers} cannot share them; use redis, or one worker")
    if role != "all":
        lines.append(f"{reason} --role {role} cannot share them; use redis, or leave out --role")
    return lines


@contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables in the process environment, and restore it at the end."""
    replaced = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables.keys() - replaced.keys():
            os.environ.pop(name, None)
        os.environ.update(replaced)
