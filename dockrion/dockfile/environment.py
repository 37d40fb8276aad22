"""Where `${VAR}` gets its values from."""

import re
from collections import ChainMap
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from dockrion.dockfile.problems import DockfileError, Problem, dotted
from dockrion.dockfile.yaml_source import Document, is_unicode, read_text

_OPENING = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(\}|:-)")


def read_environment(path: Path, env_file: Path | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Collect the variables a Dockfile may use.

    Args:
        path: The Dockfile; `.env`, `env.yaml` and `env.yml` are looked for beside it.
        env_file: A file of the `.env` kind that must exist, or None.
        environ: The process environment; it wins over every file.

    Returns:
        All variables; of those that several sources have, the first source's value.

    Raises:
        DockfileError: A file is malformed, or the named one is missing.
    """
    problems: list[Problem] = []
    # What is no text cannot be substituted: it counts as not set.
    sources = [{name: value for name, value in environ.items() if is_unicode(value)}]
    files = [(env_file, _read_dotenv)] if env_file else []
    files += [(each, _read_dotenv) for each in (path.parent / ".env",) if each.is_file()]
    beside = (path.parent / "env.yaml", path.parent / "env.yml")
    files += [(each, _read_yaml) for each in beside if each.is_file()]
    for file, read in files:
        try:
            sources.append(read(file))
        except DockfileError as error:
            problems += error.problems
    if problems:
        raise DockfileError(problems)
    return ChainMap(*sources)


def substitute(text: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Replace `${VAR}` and `${VAR:-default}`; any other `$` stays as it is.

    Args:
        text: Text that may hold references. A default may hold some, too.
        environment: The variables.

    Returns:
        The text, and the names that have neither a value nor a default.
    """
    result, unset, end = "", [], 0
    while opening := _OPENING.search(text, end):
        name, value, after = opening[1], environment.get(opening[1]), opening.end()
        if opening[2] == ":-":
            closing = _closing(text, after)
            if closing is None:
                break
            default, after = text[after:closing], closing + 1
            if not value:  # empty counts as unset here, as it does in a shell
                value, missing = substitute(default, environment)
                unset += missing
        elif value is None:
            unset.append(name)
        result += text[end : opening.start()] + (value or "")
        end = after
    return result + text[end:], unset


def _closing(text: str, start: int) -> int | None:
    """Return where the `}` of a default stands, past references nested in it."""
    depth, index = 1, start
    while index < len(text):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if not depth:
                return index
        index += 1
    return None


def _read_dotenv(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values  # noqa: PLC0415  those who have no such file do without its memory

    values = dotenv_values(stream=StringIO(read_text(path)), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def _read_yaml(path: Path) -> dict[str, str]:
    text = read_text(path)
    if not text.strip():
        return {}
    try:
        document = Document(text, str(path))
    except DockfileError as error:
        # YAML's own words may quote a value, and values here may be secrets.
        message = "not a valid YAML mapping"
        places = [msgspec.structs.replace(problem, message=message) for problem in error.problems]
        raise DockfileError(places) from None
    problems = [
        Problem(str(path), note.line, note.column, dotted(note.keys), note.message) for note in document.notes
    ]
    variables: dict[str, str] = {}
    values: dict[str, Any] = document.build(lambda _keys, value: value)
    for name, value in values.items():
        if isinstance(value, dict | list):
            message = "expected text, a number, or true or false"
            problems.append(Problem(str(path), *document.position((name,)), dotted((name,)), message))
        elif isinstance(value, bool):
            variables[name] = "true" if value else "false"
        else:
            # As it is written: 1.10 is not 1.1, and nothing is the empty text.
            variables[name] = "" if value is None else document.text((name,)) or ""
    if problems:
        raise DockfileError(problems)
    return variables
