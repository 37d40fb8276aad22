"""A clock that tests move on."""

import time


class Clock:
    """Stands where a module has `time`."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    def time(self) -> float:
        return time.time() + self.passed
