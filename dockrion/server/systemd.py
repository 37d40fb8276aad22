"""What systemd and a service that it starts tell each other.

The variables are removed from the environment, as they are for this process and not for its children.
Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence

from dockrion.errors import StartError
from dockrion.logs import log
from dockrion.server.announcer import Announcer
from dockrion.server.sockets import Address

_logger = logging.getLogger(__name__)
_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_SEND_SECONDS = 1.0
_MICROSECONDS = 1_000_000
_MAX_DIGITS = 18  # longer numbers are slow to read, and Python refuses the longest


class NotifyingAnnouncer(Announcer):
    """Tells systemd when the service is ready and when it ends, and that its event loop turns.

    Args:
        announcer: Tells a person what the process does.

    Raises:
        StartError: systemd's variables are not as it sets them.
    """

    def __init__(self, announcer: Announcer) -> None:
        self._announcer = announcer
        self._path = os.environ.pop("NOTIFY_SOCKET")
        self._watchdog_seconds = _watchdog_seconds()
        self._watchdog_timer: asyncio.TimerHandle | None = None
        self._unheard = False

    def listening(self, address: Address, port: int) -> None:
        self._announcer.listening(address, port)

    def ready(self) -> None:
        self._announcer.ready()
        self._notify("READY=1", "STATUS=serving")
        if self._watchdog_seconds and self._watchdog_timer is None:
            self._notify_watchdog()

    def reloading(self, files: Sequence[str]) -> None:
        self._announcer.reloading(files)

    def draining(self, run_ids: Sequence[str], grace: float) -> None:
        self._announcer.draining(run_ids, grace)
        self._notify("STOPPING=1", "STATUS=shutting down")

    def ended(self) -> None:
        self._announcer.ended()
        if self._watchdog_timer is not None:
            self._watchdog_timer.cancel()

    def _notify_watchdog(self) -> None:
        self._notify("WATCHDOG=1")
        delay = self._watchdog_seconds / 2  # as sd_watchdog_enabled(3) recommends
        self._watchdog_timer = asyncio.get_running_loop().call_later(delay, self._notify_watchdog)

    def _notify(self, *assignments: str) -> None:
        path = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path  # abstract: unix(7)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(_SEND_SECONDS)
                sending.connect(path)
                sending.send("\n".join(assignments).encode())
        except OSError as error:
            if not self._unheard:  # signs of life would repeat it
                log(_logger, logging.WARNING, "systemd not notified", reason=str(error), state=assignments[0])
            self._unheard = True
        else:
            self._unheard = False


def inherited_sockets() -> list[socket.socket]:
    """Return the listening sockets that systemd has opened for this process, in the order of its unit.

    Raises:
        StartError: One of them is not for listening to streams, or has no permissions.
    """
    descriptors, process = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()):  # they were for a process that started this one
        return []
    count = _parse("LISTEN_FDS", descriptors, "a number")
    return [_inherited(_FIRST_DESCRIPTOR + number) for number in range(count)]


def _inherited(descriptor: int) -> socket.socket:
    try:
        inherited = socket.socket(fileno=descriptor)
        listens = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"file descriptor {descriptor} of LISTEN_FDS: {error.strerror}") from error
    if not listens or inherited.type != socket.SOCK_STREAM or inherited.family not in _FAMILIES:
        inherited.close()
        raise StartError(
            f"file descriptor {descriptor} of LISTEN_FDS does not listen: the socket unit needs "
            "ListenStream= and Accept=no"
        )
    if isinstance(inherited.getsockname(), bytes):  # abstract: unix(7)
        inherited.close()
        raise StartError(
            f"file descriptor {descriptor} of LISTEN_FDS is a unix socket without a file, open to every "
            "process; the socket unit needs ListenStream= with a path or a port"
        )
    inherited.set_inheritable(False)  # the agent's child processes would hold it open
    return inherited


def _watchdog_seconds() -> float:
    """Return within what time systemd wants to hear of this process, 0 if it does not watch it."""
    interval, process = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    if not interval or process not in ("", str(os.getpid())):
        return 0
    return _parse("WATCHDOG_USEC", interval, "microseconds") / _MICROSECONDS


def _parse(variable: str, text: str, expected: str) -> int:
    """Return the number in a variable.

    Raises:
        StartError: There is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise StartError(f"{variable}: expected {expected}, got {text!r:.100}")
    return int(text)
