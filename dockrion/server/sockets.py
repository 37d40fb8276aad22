"""The sockets that a service listens on."""

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

import dockrion
from dockrion.errors import StartError
from dockrion.logs import log

_logger = logging.getLogger(__name__)
BACKLOG = 128  # connections that wait to be accepted


class Address(msgspec.Struct, frozen=True):
    """Where to listen.

    Args:
        host: On every address of a host.
        port: 0 for any free port.
        uds: On a unix socket of this path, instead.
    """

    host: str
    port: int
    uds: Path | None = None

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[list[socket.socket]]:
        """Listen, until this is left.

        Raises:
            StartError: The address is taken, or is none of this machine's.
        """
        if self.uds is None:
            yield await _bind(self.host, self.port)
            return
        path = self.uds.absolute()
        listening = _bind_uds(path)
        ours = path.stat().st_ino
        try:
            yield [listening]
        finally:
            with suppress(OSError):
                if path.stat().st_ino == ours:
                    path.unlink()


async def _bind(host: str, port: int) -> list[socket.socket]:
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


def _bind_uds(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listening.bind(str(path))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise StartError(f"cannot listen on {path}: {reason}; name another path with --uds") from error
    log(_logger, logging.INFO, "listening", uds=str(path), version=dockrion.__version__)
    return listening


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on: its process was killed.

    Raises:
        OSError: Something else is there, or somebody listens.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
