"""The endpoints that other people's clients call; each protocol is imported only if the Dockfile names it.

A handler, as `openai/chat.py`, reads its request and starts the run with `starting`; from there the request
is one to `POST /runs`. `stream` writes the run's events to the caller, as an encoder of `dockrion.protocols`
gives them to it, and `resuming` finds the place where a reader goes on. `questions` answers what an agent
asks, for protocols whose streams end with a question; `json_rpc` is the HTTP of those in JSON-RPC.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from types import ModuleType

from dockrion.dockfile.expose_structs import ProtocolName
from dockrion.web.responses import ErrorResponse
from dockrion.web.routes import Route


def protocol_routes(names: Iterable[ProtocolName]) -> Iterator[Route]:
    """Yield the routes of protocols: the `ROUTES` of their modules."""
    for module in _modules(names):
        yield from module.ROUTES


def protocol_error_responses(names: Iterable[ProtocolName]) -> dict[str, ErrorResponse]:
    """Return how protocols report errors in their own way, by the prefix of the paths where they do.

    It is `ERROR_RESPONSES` of their modules, where there is one.
    """
    return {
        prefix: respond
        for module in _modules(names)
        for prefix, respond in getattr(module, "ERROR_RESPONSES", {}).items()
    }


def protocol_exposed_headers(names: Iterable[ProtocolName]) -> Iterator[str]:
    """Yield the response headers that pages of other origins may read: the modules' `EXPOSED_HEADERS`."""
    for module in _modules(names):
        yield from getattr(module, "EXPOSED_HEADERS", ())


def _modules(names: Iterable[ProtocolName]) -> Iterator[ModuleType]:
    for name in dict.fromkeys(names):
        yield import_module(f"{__name__}.{name.replace('-', '_')}")
