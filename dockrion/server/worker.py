"""One of several worker processes that serve the same sockets, as seen by itself."""

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
BROKEN = b"b"
_SHUTDOWN_SECONDS = 30.0  # what a shutdown takes beyond the grace period
_MAX_MESSAGE = 64 * 1024  # bytes


class WorkerSlot(msgspec.Struct, frozen=True):
    """What the supervisor passes to a worker (`--worker-slot`).

    Attributes:
        number: The slot's number; a worker that replaces another takes over its slot.
        lifeline: File descriptor of a socket whose other end only the supervisor holds.
        listening: File descriptors of the sockets to serve.
        directory: Where the workers share their metrics.
        first: No worker is ready yet, so this one serves while it loads the agent.
        reloaded: The worker waits until it is told to start, and serves on if the agent cannot be loaded.
    """

    number: int
    lifeline: int
    listening: list[int]
    directory: str
    first: bool
    reloaded: bool = False


class Worker:
    """This process, as a worker.

    Args:
        slot: What the supervisor passed.

    Attributes:
        sockets: The sockets to serve.
    """

    def __init__(self, slot: WorkerSlot) -> None:
        self.slot = slot
        self.sockets = [socket.socket(fileno=descriptor) for descriptor in slot.listening]
        self._lifeline = socket.socket(fileno=slot.lifeline)
        self._orphaned = False
        for descriptor in (slot.lifeline, *slot.listening):
            os.set_inheritable(descriptor, False)  # the agent's child processes would hold it open

    def close_sockets(self) -> None:
        """Stop listening, so that another supervisor can listen on the same address."""
        for each in self.sockets:
            each.close()

    def wait_for_start(self) -> str | None:
        """Wait until the supervisor says to start.

        Returns:
            Why there is no agent to load, empty if there is one; None if the supervisor is gone.
        """
        message = b""
        with suppress(OSError):
            while not message.endswith(b"\n"):
                if not (received := self._lifeline.recv(_MAX_MESSAGE)):
                    return None
                message += received
        return message.decode().removesuffix("\n")

    def report(self, state: bytes) -> None:
        """Tell the supervisor that the agent is loaded, `READY`, or cannot be, `BROKEN`."""
        with suppress(OSError):  # the supervisor is gone, which `watch_supervisor` handles
            self._lifeline.send(state)

    def watch_supervisor(self, shut_down: Callable[[], object], grace: float) -> None:
        """End this process when its supervisor is gone.

        Args:
            shut_down: Starts the shutdown; called in another thread.
            grace: How long runs may go on then, in seconds.
        """
        # In a thread: an agent that blocks the event loop would keep this process alive without end.
        threading.Thread(
            target=self._watch, args=(shut_down, grace), name="dockrion-lifeline", daemon=True
        ).start()

    def close(self) -> None:
        """Remove the shared directory, if the supervisor is not there to do it."""
        if self._orphaned and self.slot.directory:
            shutil.rmtree(self.slot.directory, ignore_errors=True)

    def _watch(self, shut_down: Callable[[], object], grace: float) -> None:
        with suppress(OSError):
            self._lifeline.recv(1)  # nothing is ever sent: this returns when the other end is closed
        self._orphaned = True
        log(_logger, logging.ERROR, "the supervisor is gone")
        with suppress(RuntimeError):  # the loop is closed: the process is ending already
            shut_down()
        time.sleep(grace + _SHUTDOWN_SECONDS)
        self.close()
        os._exit(1)
