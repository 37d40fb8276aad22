"""One of several processes that serve on the same sockets."""

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from dockrion.logs import log

_logger = logging.getLogger(__name__)
READY = b"r"
_END_SECONDS = 15.0  # what an end takes beside the grace


class Place(msgspec.Struct, frozen=True):
    """What a supervisor tells a worker.

    Attributes:
        number: The worker's; one that replaces another has the same.
        lifeline: File descriptor of a socket whose other end only the supervisor has.
        listening: Those of the sockets to serve on.
        directory: Where the workers share what they count.
        alone: No worker is ready.
    """

    number: int
    lifeline: int
    listening: list[int]
    directory: str
    alone: bool


class Worker:
    """This process, as one of several.

    Args:
        place: What the supervisor said.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._lifeline = socket.socket(fileno=place.lifeline)
        self._orphaned = False
        for descriptor in (place.lifeline, *place.listening):
            os.set_inheritable(descriptor, False)  # processes that the agent starts would hold it open

    def sockets(self) -> list[socket.socket]:
        """Return the sockets to serve on."""
        return [socket.socket(fileno=descriptor) for descriptor in self.place.listening]

    def ready(self) -> None:
        """Tell the supervisor that the agent is loaded."""
        with suppress(OSError):  # it is gone, which the watch sees
            self._lifeline.send(READY)

    def watch(self, end: Callable[[], object], grace: float) -> None:
        """End this process when its supervisor is gone.

        Args:
            end: Begins the end; called in another thread.
            grace: Seconds that running agents get then.
        """
        # Not on the loop: an agent that blocks it would keep this process for ever.
        threading.Thread(target=self._watch, args=(end, grace), name="dockrion-lifeline", daemon=True).start()

    def close(self) -> None:
        """Clean up where the supervisor cannot."""
        if self._orphaned:
            shutil.rmtree(self.place.directory, ignore_errors=True)

    def _watch(self, end: Callable[[], object], grace: float) -> None:
        with suppress(OSError):
            self._lifeline.recv(1)  # nothing is ever sent: this waits for the other end to be closed
        self._orphaned = True
        log(_logger, logging.ERROR, "the supervisor is gone")
        with suppress(RuntimeError):  # the loop is closed: it ends already
            end()
        time.sleep(grace + _END_SECONDS)
        self.close()
        os._exit(1)
