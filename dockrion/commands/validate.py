"""`dockrion validate`: check a Dockfile and its agent."""

import argparse
import asyncio
import sys

import msgspec

from dockrion.commands.dockfile_options import add_dockfile_options, exported, load_dockfile, refusals
from dockrion.dockfile import summary
from dockrion.redaction import Redactor
from dockrion.web.routes import routes
from dockrion.web.service import check_start


def add_validate(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion validate`."""
    add_dockfile_options(parser)
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of Dockfiles instead")
    parser.set_defaults(command=_validate)


def _validate(options: argparse.Namespace) -> int:
    if options.schema:
        from dockrion.dockfile.reference import json_schema  # noqa: PLC0415  memory

        print(msgspec.json.format(msgspec.json.encode(json_schema())).decode())
        return 0
    loaded = load_dockfile(options)
    redactor = Redactor(loaded.confidential)
    with exported(loaded.agent_environment):
        findings = asyncio.run(check_start(loaded))
    refused = refusals(loaded) + findings.errors
    endpoints = (f"{route.method} {route.path}" for route in routes(loaded.dockfile))
    print(redactor.mask(summary(loaded, endpoints)), flush=True)
    warnings = [*loaded.warnings, *findings.warnings]
    for line in [*(f"warning: {warning}" for warning in warnings), *refused]:
        print(redactor.mask(line), file=sys.stderr)
    return 1 if refused else 0
