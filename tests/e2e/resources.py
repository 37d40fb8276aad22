"""What a process may use and uses: file descriptors and CPU time."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support import wait_until

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def no_descriptors_left(pid: int) -> Iterator[None]:
    """Let a process open no more file descriptors, also in place of those it closes."""
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, usual[1]))  # 0 to 2 are open
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def cpu_share(pid: int, seconds: float) -> float:
    """Return how much of a core a process uses from now on, over a time."""
    began, used = time.monotonic(), cpu_seconds(pid)
    await wait_until(lambda: time.monotonic() - began >= seconds, seconds + 10)
    return (cpu_seconds(pid) - used) / (time.monotonic() - began)
