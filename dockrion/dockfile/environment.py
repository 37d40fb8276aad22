"""Environment variables: where they are read from, and the substitution of `${VAR}`."""

import os
import re
from collections import ChainMap
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from dockrion.dockfile.problems import DockfileError, Problem, dotted
from dockrion.dockfile.yaml_scalars import is_unicode
from dockrion.dockfile.yaml_source import Document, read_text

_INVALID = "the name or the value cannot be that of an environment variable"
_OPENING = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(\}|:-)")


class Environment(msgspec.Struct, frozen=True):
    """The variables that a Dockfile may refer to.

    Attributes:
        variables: All of them; the process environment takes precedence.
        from_files: Those of the environment files that the process environment does not set.
    """

    variables: Mapping[str, str]
    from_files: Mapping[str, str]


def read_environment(path: Path, env_file: Path | None, environ: Mapping[str, str]) -> Environment:
    """Read the process environment and the environment files.

    Precedence: the process environment, `env_file`, `.env`, `env.yaml`, `env.yml`.

    Args:
        path: The Dockfile; `.env`, `env.yaml` and `env.yml` in its directory are read.
        env_file: Another file in `.env` syntax, which must exist; or None.
        environ: The process environment.

    Raises:
        DockfileError: A file is malformed, or `env_file` is missing.
    """
    problems: list[Problem] = []
    sources: list[dict[str, str]] = []
    files = [(env_file, _read_dotenv)] if env_file else []
    beside = ((".env", _read_dotenv), ("env.yaml", _read_yaml), ("env.yml", _read_yaml))
    files += [(path.parent / name, read) for name, read in beside if (path.parent / name).is_file()]
    for file, read in files:
        try:
            sources.append(read(file))
        except DockfileError as error:
            problems += error.problems
    if problems:
        raise DockfileError(problems)
    # A value that is not Unicode cannot be substituted: treat it as not set.
    process = {name: value for name, value in environ.items() if is_unicode(value)}
    return Environment(
        variables=ChainMap(process, *sources),
        from_files={name: value for name, value in ChainMap(*sources).items() if name not in environ},
    )


def substitute(text: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Replace `${VAR}` and `${VAR:-default}`; leave any other `$` unchanged.

    Args:
        text: Text that may contain references. A default may contain references, too.
        environment: The variables.

    Returns:
        The text, and the names of the variables that have neither a value nor a default.
    """
    result, unset, end = "", [], 0
    while opening := _OPENING.search(text, end):
        name, value, after = opening[1], environment.get(opening[1]), opening.end()
        if opening[2] == ":-":
            closing = _closing(text, after)
            if closing is None:
                break
            default, after = text[after:closing], closing + 1
            if not value:  # `:-` replaces an empty value, too, as in a shell
                value, missing = substitute(default, environment)
                unset += missing
        elif value is None:
            unset.append(name)
        result += text[end : opening.start()] + (value or "")
        end = after
    return result + text[end:], unset


def _closing(text: str, start: int) -> int | None:
    """Return the index of the `}` that ends a default, after references nested in it."""
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
    from dotenv import dotenv_values  # noqa: PLC0415  memory: only needed with a .env file

    values = dotenv_values(stream=StringIO(read_text(path)), interpolate=False)
    variables = {name: value for name, value in values.items() if value is not None}
    invalid = [name for name, value in variables.items() if not _is_variable(name, value)]
    if invalid:
        raise DockfileError(Problem(str(path), 0, 0, dotted((name,)), _INVALID) for name in invalid)
    return variables


def _read_yaml(path: Path) -> dict[str, str]:
    text = read_text(path)
    if not text.strip():
        return {}
    try:
        document = Document(text, str(path))
    except DockfileError as error:
        # PyYAML's messages may quote a value, and the values here may be secrets.
        message = "not a valid YAML mapping"
        raise DockfileError(
            msgspec.structs.replace(problem, message=message) for problem in error.problems
        ) from None
    problems = [
        Problem(str(path), error.line, error.column, dotted(error.keys), error.message)
        for error in document.errors
    ]
    variables: dict[str, str] = {}
    values: dict[str, Any] = document.build(lambda _keys, value: value)
    for name, value in values.items():
        if isinstance(value, dict | list):
            message = "expected a string, a number, true or false"
            problems.append(Problem(str(path), *document.position((name,)), dotted((name,)), message))
        elif isinstance(value, bool):
            variables[name] = "true" if value else "false"
        else:
            # The source text of numbers: 1.10 must not become 1.1. Null becomes the empty string.
            variables[name] = "" if value is None else document.text((name,)) or ""
        if not _is_variable(name, variables.get(name, "")):
            problems.append(Problem(str(path), *document.position((name,)), dotted((name,)), _INVALID))
    if problems:
        raise DockfileError(problems)
    return variables


def _is_variable(name: str, value: str) -> bool:
    """Return whether an operating system takes a variable."""
    try:
        encoded = os.fsencode(name), os.fsencode(value)
    except UnicodeEncodeError:  # in a locale that is not UTF-8
        return False
    return bool(name) and "=" not in name and not any(b"\0" in each for each in encoded)
