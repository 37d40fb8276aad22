"""`dockrion validate`: check a Dockfile and its agent."""

import argparse
import asyncio
import re
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import Literal

import msgspec

from dockrion.commands.dockfile_options import add_dockfile_options, exported, load_dockfile, refusals
from dockrion.dockfile import DockfileError, Loaded, summary
from dockrion.dockfile.problems import KeyPath, Problem
from dockrion.dockfile.yaml_source import Document, read_text
from dockrion.redaction import Redactor
from dockrion.web.routes import routes
from dockrion.web.start_checks import check_start

_FIELD = re.compile(r"[a-z_]+([.\[][\w\]-]+)*")


class ReportedProblem(msgspec.Struct, frozen=True):
    """A problem in the report.

    Attributes:
        severity: `error` if `run` would refuse to start, else `warning`.
        file: The file.
        line: From 1; None if the problem concerns the file as a whole.
        column: From 1; None as above.
        path: The field, such as `agent.handler`; may be empty.
        message: What is wrong, and what to do.
    """

    severity: Literal["error", "warning"]
    file: str
    line: int | None
    column: int | None
    path: str
    message: str


class ReportedAgent(msgspec.Struct, frozen=True):
    """The agent in the report: `mode` is `handler`, `entrypoint` or `url`, and `target` its value."""

    name: str
    framework: str
    mode: str
    target: str


class Report(msgspec.Struct, frozen=True):
    """What `--json` prints; fields may be added to it, but none is changed.

    Attributes:
        valid: Whether `run` would start: there is no problem of severity `error`.
        problems: Errors and warnings.
        agent: The agent, None if the file is not valid.
        host: Where the service listens, None likewise.
        port: Its port, None likewise.
        backend: `memory` or `redis`, None likewise.
        endpoints: What it serves, as `METHOD /path`.
    """

    valid: bool
    problems: list[ReportedProblem]
    agent: ReportedAgent | None = None
    host: str | None = None
    port: int | None = None
    backend: str | None = None
    endpoints: list[str] = []


def add_validate(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion validate`."""
    add_dockfile_options(parser)
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="print a report for programs, as JSON")
    printed.add_argument("--schema", action="store_true", help="print the JSON Schema of Dockfiles instead")
    parser.set_defaults(command=_validate)


def _validate(options: argparse.Namespace) -> int:
    if options.schema:
        from dockrion.dockfile.reference import json_schema  # noqa: PLC0415  memory

        print(msgspec.json.format(msgspec.json.encode(json_schema())).decode())
        return 0
    try:
        loaded = load_dockfile(options)
    except DockfileError as error:
        if options.json:
            _print_report(Report(valid=False, problems=_reported(error.problems, error.warnings)))
            return 1
        raise
    redactor = Redactor(loaded.confidential)
    # What the agent prints is no part of the report.
    with exported(loaded.agent_environment), redirect_stdout(sys.stderr):
        findings = asyncio.run(check_start(loaded))
    errors = _located(refusals(loaded) + findings.errors, loaded, redactor)
    warnings = [*loaded.warnings, *_located(findings.warnings, loaded, redactor)]
    endpoints = [f"{route.method} {route.path}" for route in routes(loaded.dockfile)]
    if options.json:
        _print_report(_report(loaded, errors, warnings, endpoints))
        return 1 if errors else 0
    print(redactor.mask(summary(loaded, endpoints)), flush=True)
    for line in [*(f"warning: {warning}" for warning in warnings), *map(str, errors)]:
        print(line, file=sys.stderr)
    return 1 if errors else 0


def _located(lines: Iterable[str], loaded: Loaded, redactor: Redactor) -> list[Problem]:
    """Return problems with the position of the field that each of them begins with."""
    problems = []
    document = Document(read_text(loaded.path), str(loaded.path))
    for line in lines:
        text = redactor.mask(line).removeprefix(f"{loaded.path}: ")
        path, _, message = text.partition(": ")
        if _FIELD.fullmatch(path):
            position = document.key_position(_keys(path))
            problems.append(Problem(str(loaded.path), *position, path, message))
        else:
            problems.append(Problem(str(loaded.path), 0, 0, "", text))
    return problems


def _keys(path: str) -> KeyPath:
    return tuple(int(key) if key.isdigit() else key for key in re.findall(r"[^.\[\]]+", path))


def _reported(errors: Iterable[Problem], warnings: Iterable[Problem]) -> list[ReportedProblem]:
    return [_report_problem("error", each) for each in errors] + [
        _report_problem("warning", each) for each in warnings
    ]


def _report_problem(severity: Literal["error", "warning"], problem: Problem) -> ReportedProblem:
    line, column = problem.line or None, problem.column or None
    return ReportedProblem(severity, problem.file, line, column, problem.path, problem.message)


def _report(loaded: Loaded, errors: list[Problem], warnings: list[Problem], endpoints: list[str]) -> Report:
    agent, dockfile = loaded.dockfile.agent, loaded.dockfile
    mask = Redactor(loaded.confidential).mask
    return Report(
        valid=not errors,
        problems=_reported(errors, warnings),
        agent=ReportedAgent(mask(agent.name), agent.framework or "", agent.mode, mask(agent.target)),
        host=mask(dockfile.expose.host),
        port=dockfile.expose.port,
        backend=dockfile.streaming.backend,
        endpoints=endpoints,
    )


def _print_report(report: Report) -> None:
    print(msgspec.json.format(msgspec.json.encode(report)).decode())
