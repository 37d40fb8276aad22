"""`dockrion openapi`: print the API as an OpenAPI document."""

import argparse
import asyncio
import sys
from contextlib import redirect_stdout

import msgspec

from dockrion.agents.handler_types import HandlerTypes
from dockrion.agents.loading import load_handler_types
from dockrion.commands.dockfile_options import add_dockfile_options, exported, load_dockfile
from dockrion.dockfile import Loaded
from dockrion.errors import StartError
from dockrion.redaction import Redactor
from dockrion.web.docs import Description
from dockrion.web.routes import routes


def add_openapi(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion openapi`."""
    add_dockfile_options(parser)
    parser.set_defaults(command=_openapi)


def _openapi(options: argparse.Namespace) -> int:
    loaded = load_dockfile(options)
    redactor = Redactor(loaded.confidential)
    types = _handler_types(loaded)
    dockfile = msgspec.structs.replace(loaded.dockfile, io_schema=types.io_schema)
    endpoints = [route.endpoint for route in routes(dockfile)]
    document = Description(redactor, endpoints).openapi(dockfile, dockfile.expose.root_path)
    print(msgspec.json.format(document).decode())
    for problem in types.problems:
        print(redactor.mask(f"warning: {problem}"), file=sys.stderr)
    return 0


def _handler_types(loaded: Loaded) -> HandlerTypes:
    """Return the types that the handler declares, if the Dockfile lacks a schema: else it is not imported."""
    io_schema = loaded.dockfile.io_schema
    if None not in (io_schema.input, io_schema.output):
        return HandlerTypes(None, io_schema)
    try:
        # What the agent prints is no part of the document.
        with exported(loaded.agent_environment), redirect_stdout(sys.stderr):
            return asyncio.run(load_handler_types(loaded.dockfile, loaded.path.parent))
    except StartError as error:
        return HandlerTypes(None, io_schema, [str(error)])
