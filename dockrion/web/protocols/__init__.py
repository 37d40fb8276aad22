"""The endpoints that other people's clients call; each protocol is imported only if the Dockfile names it.

`stream` writes a run's events in a protocol, `resuming` finds the place where a reader goes on, `starting`
reads requests and starts their runs.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module

from dockrion.dockfile.structs import ProtocolName
from dockrion.web.routes import Route


def protocol_routes(names: Iterable[ProtocolName]) -> Iterator[Route]:
    """Yield the routes of protocols: the `ROUTES` of their modules."""
    for name in dict.fromkeys(names):
        yield from import_module(f"{__name__}.{name.replace('-', '_')}").ROUTES
