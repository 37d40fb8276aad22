"""The sockets that a service listens on."""

import asyncio
import logging
import socket

import dockrion
from dockrion.errors import StartError
from dockrion.logs import log

_logger = logging.getLogger(__name__)
BACKLOG = 128  # connections that wait to be accepted


async def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on every address of a host.

    Args:
        host: Where to listen.
        port: Where to listen; 0 for any free port.

    Raises:
        StartError: The address is taken, or is none of this machine's.
    """
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        sockets = [each.dup() for each in server.sockets]
        server.close()
        for each in sockets:
            each.listen(BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(
            f"cannot listen on {host}:{port}: {reason}; name others with --host and --port"
        ) from error
    bound = sockets[0].getsockname()[1]
    log(_logger, logging.INFO, "listening", host=host, port=bound, version=dockrion.__version__)
    return sockets
