"""The sockets that a service listens on."""

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

import dockrion
from dockrion.errors import StartError
from dockrion.logs import log
from dockrion.tls import ServerTls

_logger = logging.getLogger(__name__)
_ANY_HOST = ("", "0.0.0.0", "::")  # noqa: S104  every address of this machine
BACKLOG = 128  # connections that wait to be accepted


class Address(msgspec.Struct, frozen=True):
    """Where to listen.

    Attributes:
        host: The host; every address it resolves to is used.
        port: The port, 0 for any free one.
        uds: The path of a unix socket to listen on instead.
        tls: What connections are encrypted with, except those over a unix socket; None if they are not.
    """

    host: str
    port: int
    uds: Path | None = None
    tls: ServerTls | None = None

    def url(self, port: int) -> str | None:
        """Return where a browser on this machine finds the service, None if it cannot.

        Args:
            port: The actual port, 0 for a unix socket.
        """
        if port == 0:
            return None
        host = "localhost" if self.host in _ANY_HOST else self.host
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[list[socket.socket]]:
        """Open listening sockets; a unix socket's file is removed at the end.

        Sockets that systemd has opened for this process are used instead of the address.

        Raises:
            StartError: The address is taken, or not one of this machine's.
        """
        if inherited := _inherited():
            yield inherited
            return
        if self.uds is None:
            yield await _listen_tcp(self.host, self.port)
            return
        path = self.uds.absolute()
        listening = _listen_unix(path)
        inode = path.stat().st_ino
        try:
            yield [listening]
        finally:
            with suppress(OSError):
                if path.stat().st_ino == inode:  # else another process has replaced it
                    path.unlink()


def ip_addresses(sockets: Iterable[socket.socket]) -> list[str]:
    """Return the addresses that sockets are bound to; a unix socket has none."""
    return [each.getsockname()[0] for each in sockets if each.family != socket.AF_UNIX]


def port_of(sockets: Sequence[socket.socket]) -> int:
    """Return the port that sockets are bound to, 0 for a unix socket."""
    return 0 if sockets[0].family == socket.AF_UNIX else int(sockets[0].getsockname()[1])


def address_of(sockets: Sequence[socket.socket]) -> str | tuple[str, int]:
    """Return the path of a unix socket, or the host and port of the first other one, IPv4 if there is one."""
    if sockets[0].family == socket.AF_UNIX:
        return str(sockets[0].getsockname())
    first = min(sockets, key=lambda each: each.family != socket.AF_INET)
    return first.getsockname()[:2]  # type: ignore[no-any-return]


def _inherited() -> list[socket.socket]:
    if "LISTEN_FDS" not in os.environ:
        return []
    from dockrion.server.systemd import inherited_sockets  # noqa: PLC0415  rarely used

    sockets = inherited_sockets()
    for each in sockets:
        address = address_of([each])
        where = {"uds": address} if isinstance(address, str) else {"host": address[0], "port": address[1]}
        log(_logger, logging.INFO, "listening", **where, inherited=True, version=dockrion.__version__)
    return sockets


async def _listen_tcp(host: str, port: int) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        sockets = [each.dup() for each in server.sockets]
        server.close()
        for each in sockets:
            each.listen(BACKLOG)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {_reason(error)}; choose others with --host and --port"
        ) from error
    log(_logger, logging.INFO, "listening", host=host, port=port_of(sockets), version=dockrion.__version__)
    return sockets


def _listen_unix(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listening.bind(str(path))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise StartError(
            f"cannot listen on {path}: {_reason(error)}; name another path with --uds"
        ) from error
    log(_logger, logging.INFO, "listening", uds=str(path), version=dockrion.__version__)
    return listening


def _reason(error: OSError) -> str:
    """Return what the system says, without the names of calls and addresses that asyncio adds."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a process that was killed.

    Raises:
        OSError: The path is no socket, or a process listens on it.
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
