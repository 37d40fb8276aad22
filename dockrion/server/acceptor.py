"""Accepts connections on a listening socket, also when file descriptors run out for a while.

`loop.create_server` is not used for this: when descriptors run out, it logs up to 128 tracebacks a
second (`asyncio.selector_events`, `_accept_connection`), and it uses the socket again after `close`.
"""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable
from contextlib import suppress

from dockrion.background_tasks import BackgroundTasks
from dockrion.logs import log

_logger = logging.getLogger(__name__)
_ACCEPTED_AT_ONCE = 128
_PAUSE_SECONDS = 1.0  # the socket stays readable, so that trying at once would burn a core
_QUIET_SECONDS = 60.0  # how long a further failure is not logged
_MOST_DESCRIPTORS = 65_536  # some programs close every possible descriptor, one by one, when they start


class Acceptor:
    """Accepts connections on a listening socket until it is closed.

    Args:
        listening: The socket, which this owns.
        factory: Makes the protocol of each connection.
    """

    def __init__(self, listening: socket.socket, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._factory = factory
        self._opening = BackgroundTasks()
        self._resuming: asyncio.TimerHandle | None = None
        self._logged_at = -_QUIET_SECONDS
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
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            self._opening.start(self._open(connection))

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
