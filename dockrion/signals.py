"""Signals whose handlers run even while code blocks the event loop: those of `signal.signal`."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 4096  # bytes; there is one for each signal


@contextmanager
def waking(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let each signal wake an event loop during a block.

    A signal ends what the main thread waits for, and then Python runs the handler. If it comes in the instant
    before the loop waits, its handler runs only when something else has happened.
    """
    reading, writing = socket.socketpair()
    with reading, writing:
        for each in (reading, writing):
            each.setblocking(False)
        loop.add_reader(reading, reading.recv, _MANY)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            loop.remove_reader(reading)
