"""Accepts connections on a listening socket, also when file descriptors run out for a while.

`loop.create_server` is not used for this: when descriptors run out, it logs up to 128 tracebacks a
second (`asyncio.selector_events`, `_accept_connection`), and it uses the socket again after `close`.
"""

import asyncio
import logging
import os
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from dockrion.background_tasks import BackgroundTasks
from dockrion.logs import log
from dockrion.tls import ServerTls

_logger = logging.getLogger(__name__)
_ACCEPTED_AT_ONCE = 128
_PAUSE_SECONDS = 1.0  # the socket stays readable, so that trying at once would burn a core
_HANDSHAKE_SECONDS = 10.0
_MAX_HANDSHAKES = 1000  # each takes 71 KiB
_TLS_END_SECONDS = 2.0  # how long a peer may take to confirm the end
_QUIET_SECONDS = 60.0  # how long a further failure is not logged
_MOST_DESCRIPTORS = 65_536  # some programs close every possible descriptor, one by one, when they start


class Acceptor:
    """Accepts connections on a listening socket until it is closed.

    Args:
        listening: The socket, which this owns.
        factory: Makes the protocol of each connection.
        tls: What connections are encrypted with, None if they are not.
    """

    def __init__(
        self,
        listening: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        tls: ServerTls | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._factory = factory
        self._tls = tls
        self._opening = BackgroundTasks()
        self._handshakes: dict[
            asyncio.Task[Any], str
        ] = {}  # the peers of those that have begun, oldest first
        self._resuming: asyncio.TimerHandle | None = None
        self._logged_at = -_QUIET_SECONDS
        self._handshake_logged_at = -_QUIET_SECONDS
        self._failed_handshakes = 0  # since then
        listening.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Accept no more connections, and close the socket; those accepted go on."""
        if self._resuming is not None:
            self._resuming.cancel()
        self._loop.remove_reader(self._listening)  # another process may keep the socket open
        self._listening.close()

    def _resume(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            if self._tls is None:
                self._opening.start(self._open(connection))
            else:
                self._opening.start(self._open_tls(connection, peer, self._tls.context))

    def _pause(self, error: OSError) -> None:
        self._loop.remove_reader(self._listening)
        self._resuming = self._loop.call_later(_PAUSE_SECONDS, self._resume)
        now = self._loop.time()
        if now - self._logged_at >= _QUIET_SECONDS:
            self._logged_at = now
            reason = os.strerror(error.errno or 0)
            log(_logger, logging.ERROR, "cannot accept connections at present", reason=reason)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection)
        except OSError:  # the peer has left already, or the kernel has no resources for it
            connection.close()

    async def _open_tls(
        self, connection: socket.socket, peer: tuple[Any, ...], context: ssl.SSLContext
    ) -> None:
        handshake = cast("asyncio.Task[Any]", asyncio.current_task())
        self._handshakes[handshake] = peer[0]
        if len(self._handshakes) > _MAX_HANDSHAKES:
            self._end_oldest_handshake()
        try:
            await self._loop.connect_accepted_socket(
                self._factory,
                connection,
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_TLS_END_SECONDS,
            )
        except OSError as error:
            error.__traceback__ = None  # it refers to what refers to it: memory would be freed late
            connection.close()
            if isinstance(error, ssl.SSLError | ConnectionAbortedError):  # others have left, as probes do
                reason = error.reason if isinstance(error, ssl.SSLError) else "too slow"
                self._log_failed_handshake(peer[0], reason)
        finally:
            self._handshakes.pop(handshake, None)
            del handshake  # likewise, for a task that is cancelled

    def _end_oldest_handshake(self) -> None:
        """Make room for another one: a peer that means it needs less time than those before it had."""
        oldest = next(iter(self._handshakes))
        self._log_failed_handshake(self._handshakes.pop(oldest), "too many at once")
        oldest.cancel()  # which closes its connection

    def _log_failed_handshake(self, peer: str, reason: str) -> None:
        """Log a failed handshake, unless one was logged just now: anybody can cause them."""
        self._failed_handshakes += 1
        now = self._loop.time()
        if now - self._handshake_logged_at < _QUIET_SECONDS:
            return
        self._handshake_logged_at = now
        count, self._failed_handshakes = self._failed_handshakes, 0
        log(_logger, logging.INFO, "TLS handshake failed", client=peer, reason=reason, count=count)


def raise_descriptor_limit() -> None:
    """Allow this process, and those that it starts, as many file descriptors as its hard limit does.

    The usual soft limit, 1024, is for programs that use `select` (systemd.exec(5), `LimitNOFILE`); each
    connection takes a descriptor.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS has another limit, which may be lower
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
