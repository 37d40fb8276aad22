"""Heartbeats while an agent blocks the event loop, from a thread of its own.

Only a process that is frozen counts as dead: it is paused, or native code holds the interpreter's lock.
If code of an agent merely blocks the event loop, its runs are alive, although nothing else happens in
this process meanwhile. So this thread checks whether the loop takes turns. When it does not, the thread
sends heartbeats in its place, and logs where it is blocked.

Not without bound: no run may take longer than `max_run_duration`. After that much time without a turn,
no more heartbeats are sent, and other replicas end the runs of this one as those of a dead replica.
"""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress

from dockrion.errors import ServiceUnavailable
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
CHECK_SECONDS = 1.0
CHECKS_UNTIL_BLOCKED = 3
_MAX_FRAMES = 10


class LoopWatchdog:
    """Watches the event loop on which it is made, from a daemon thread.

    Args:
        beat: Sends a heartbeat without the loop. Raises `ServiceUnavailable` if that is not possible.
        longest: How long the loop may be blocked, in seconds.
    """

    def __init__(self, beat: Callable[[], None], *, longest: float) -> None:
        self._beat = beat
        self._longest = longest
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._turn = threading.Event()
        self._stopped = threading.Event()
        self._checks = 0  # without a turn of the loop; a frozen process makes none, so they are not a time
        threading.Thread(target=self._watch, name="dockrion-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end soon."""
        self._stopped.set()

    def _watch(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._ask_for_turn()
            while not self._stopped.wait(CHECK_SECONDS):
                if not self._turn.is_set():
                    self._checks += 1
                    self._on_no_turn()
                else:
                    if self._checks >= CHECKS_UNTIL_BLOCKED:
                        log(_logger, logging.WARNING, "the event loop responds again", seconds=self._blocked)
                    self._checks = 0
                    self._ask_for_turn()

    def _ask_for_turn(self) -> None:
        self._turn.clear()
        self._loop.call_soon_threadsafe(self._turn.set)

    @property
    def _blocked(self) -> float:
        """For about how many seconds the loop has been blocked."""
        return self._checks * CHECK_SECONDS

    def _on_no_turn(self) -> None:
        """Send a heartbeat if the loop is blocked, but not for too long; log when either begins."""
        if self._checks < CHECKS_UNTIL_BLOCKED:
            return
        if self._blocked <= self._longest:
            with suppress(ServiceUnavailable):
                self._beat()
        if self._checks == CHECKS_UNTIL_BLOCKED:
            self._report("the event loop is blocked")
        elif self._blocked - CHECK_SECONDS <= self._longest < self._blocked:
            self._report("the event loop is blocked for so long that this replica counts as dead")

    def _report(self, message: str) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  documented, in spite of its name
        stack = traceback.extract_stack(frame)[-_MAX_FRAMES:]
        where = "".join(traceback.format_list(stack))
        log(_logger, logging.WARNING, message, seconds=self._blocked, where=where)
