"""The runs in memory in the order of their creation."""

from bisect import bisect_left

from dockrion.backends.memory.log import Log
from dockrion.backends.run_log import MAX_SCANNED, BadCursor, Listing, Run, Status

_CURSOR_DIGITS = 18
_SLACK = 64  # stale entries that are not worth a compaction


class Index:
    """Lists runs from any cursor on without scanning those before it.

    Args:
        logs: The runs by id, in the order of their creation.
    """

    def __init__(self, logs: dict[str, Log]) -> None:
        self._logs = logs
        self._order: list[tuple[int, str]] = []  # also of removed runs, until they are compacted

    def add(self, log: Log) -> None:
        """Add a run that is newer than all others."""
        self._order.append((log.number, log.run.run_id))

    def compact(self) -> None:
        """Drop the entries of removed runs once they outnumber the others."""
        if len(self._order) > 2 * len(self._logs) + _SLACK:
            self._order = [(log.number, run_id) for run_id, log in self._logs.items()]

    def recent(
        self, *, status: Status | None, limit: int, cursor: str | None, owner: str | None
    ) -> Listing[Run]:
        """Return runs, newest first; see `RunLog.recent`."""
        stop = len(self._order) if cursor is None else bisect_left(self._order, (_cursor_number(cursor),))
        start = max(stop - MAX_SCANNED, 0)
        items: list[Run] = []
        reached = 0
        for number, run_id in reversed(self._order[start:stop]):
            log = self._logs.get(run_id)
            if log is None or log.number != number:
                continue
            if (status is None or log.run.status == status) and (owner is None or log.run.owner == owner):
                if len(items) == limit:
                    return Listing(items, str(reached))
                items.append(log.run)
                reached = number
        return Listing(items, str(self._order[start][0]) if start else None)


def _cursor_number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _CURSOR_DIGITS):
        raise BadCursor(cursor)
    return int(cursor)
