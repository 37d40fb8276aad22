"""The order of the runs in memory: of all, and of each caller's."""

from array import array
from bisect import bisect_left

from dockrion.backends.memory.log import Log
from dockrion.backends.run_log import MAX_SCANNED, BadCursor, Listing, Run, Status

_CURSOR_DIGITS = 18
_STALE_ENTRIES = 64  # entries of removed runs that are not worth a compaction


class Index:
    """Lists runs from any cursor on without scanning those before it, nor those of other callers.

    Args:
        logs: The runs by id.
    """

    def __init__(self, logs: dict[str, Log]) -> None:
        self._logs = logs
        self._all = _Order()
        self._by_owner: dict[str, _Order] = {}

    def add(self, log: Log) -> None:
        """Add a run that is newer than all others, unless it is unlisted."""
        if log.run.unlisted:
            return
        self._all.add(log)
        owner = log.run.owner
        if owner is not None:
            self._by_owner.setdefault(owner, _Order()).add(log)

    def remove(self, log: Log) -> None:
        """Remove a run, which is not in the logs any more."""
        if log.run.unlisted:
            return
        self._all.remove(self._logs)
        owner = log.run.owner
        if owner is not None:
            own = self._by_owner[owner]
            own.remove(self._logs)
            if not own.length:
                del self._by_owner[owner]

    def recent(
        self, *, status: Status | None, limit: int, cursor: str | None, owner: str | None, waiting: bool
    ) -> Listing[Run]:
        """Return runs, newest first; see `RunLog.recent`."""
        before = None if cursor is None else _cursor_number(cursor)
        order = self._all if owner is None else self._by_owner.get(owner)
        if order is None:
            return Listing([], None)
        stop = len(order.ids) if before is None else bisect_left(order.numbers, before)
        start = max(stop - MAX_SCANNED, 0)
        items: list[Run] = []
        reached = 0
        for at in range(stop - 1, start - 1, -1):
            log = self._logs.get(order.ids[at])
            if log is None or log.number != order.numbers[at]:
                continue
            if (status is None or log.run.status == status) and (log.run.waiting_for or not waiting):
                if len(items) == limit:
                    return Listing(items, str(reached))
                items.append(log.run)
                reached = log.number
        return Listing(items, str(order.numbers[start]) if start else None)


class _Order:
    """Runs in the order of their creation, by number and id; also removed ones, until they are compacted.

    Not one list of pairs: Python keeps freed tuples for reuse, and with them the memory around them.
    """

    __slots__ = ("ids", "length", "numbers")

    def __init__(self) -> None:
        self.length = 0  # without removed runs
        self.numbers = array("Q")
        self.ids: list[str] = []

    def add(self, log: Log) -> None:
        self.length += 1
        self.numbers.append(log.number)
        self.ids.append(log.run.run_id)

    def remove(self, logs: dict[str, Log]) -> None:
        """Count a run that is not in `logs` any more; compact once removed runs outnumber the others."""
        self.length -= 1
        if len(self.ids) > 2 * self.length + _STALE_ENTRIES:
            entries = zip(self.numbers, self.ids, strict=True)
            kept = [log for number, run_id in entries if (log := logs.get(run_id)) and log.number == number]
            self.numbers = array("Q", [log.number for log in kept])
            self.ids = [log.run.run_id for log in kept]


def _cursor_number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _CURSOR_DIGITS):
        raise BadCursor(cursor)
    return int(cursor)
