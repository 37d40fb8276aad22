"""A subscription: the readers of one run in this process, and what is known of their field in Redis.

Also the pages of history that the readers of all runs share.

The field is set to numbers rather than incremented, because a command may be executed although its
reply is lost. What is known of it follows from the result of each command (`_TRANSITIONS`).
"""

import asyncio
import enum
from collections import OrderedDict

from dockrion.backends.fanout import Watch
from dockrion.backends.pages import PAGE_BYTES, Page

_HISTORY_PAGES = 64
REMOVE = -1  # instead of a number of readers: remove the field


class Registration(enum.Enum):
    """What this process knows of its field in a run's hash of watchers."""

    ABSENT = enum.auto()
    STORED = enum.auto()  # with the number `Subscription.stored`
    UNCERTAIN = enum.auto()  # absent, or stored with a number whose command had no reply


class CommandResult(enum.Enum):
    """What a command that sets or removes the field has done."""

    STORED = enum.auto()
    REMOVED = enum.auto()
    REFUSED = enum.auto()  # the run is missing, or has too many readers: nothing was written
    LOST = enum.auto()  # no reply


_TRANSITIONS: dict[CommandResult, Registration | None] = {  # the state after a command
    CommandResult.STORED: Registration.STORED,
    CommandResult.REMOVED: Registration.ABSENT,
    CommandResult.REFUSED: None,  # unchanged
    CommandResult.LOST: Registration.UNCERTAIN,
}


class Subscription:
    """The readers of one run in this process, and the pages that they share.

    Args:
        incarnation: The run's incarnation; None if Redis is yet to tell it.

    Attributes:
        watches: All readers.
        counted: Those that count towards the limit.
        joining: Those that the next command counts.
        registration: What is known of the field.
        stored: The number in it.
        updating: Held during a command that sets or removes it.
        reads: Reads in flight, by position and limit.
    """

    def __init__(self, incarnation: str | None) -> None:
        self.incarnation = incarnation
        self.watches: set[Watch] = set()
        self.counted: set[Watch] = set()
        self.joining: set[Watch] = set()
        self.registration = Registration.ABSENT
        self.stored = 0
        self.updating = asyncio.Lock()
        self.reads: dict[tuple[int, int], asyncio.Task[Page]] = {}
        self._newest: tuple[int, Page] | None = None

    @property
    def readers(self) -> int:
        """The number that Redis should have."""
        return len(self.counted) if self.watches else REMOVE

    @property
    def dirty(self) -> bool:
        """Whether Redis may have another number than `readers`."""
        match self.registration:
            case Registration.ABSENT:
                return False  # readers register before they are counted
            case Registration.STORED:
                return self.stored != self.readers
        return True

    def settle(self, readers: int, result: CommandResult) -> None:
        """Record the result of a command that sent a number."""
        self.registration = _TRANSITIONS[result] or self.registration
        if result is CommandResult.STORED:
            self.stored = readers

    def retire(self) -> None:
        """Send no further commands, and wake all readers: another run has the id."""
        self.registration = Registration.ABSENT
        self.wake()

    def peek(self, after: int) -> Page | None:
        """Return the page after a position, if it is in memory."""
        return self._newest[1] if self._newest is not None and self._newest[0] == after else None

    def wake(self, page: Page | None = None) -> None:
        """Wake all readers; the page is what was appended, if that is known."""
        self.reads.clear()
        self._newest = None
        if page is not None and page.size <= PAGE_BYTES:
            self._newest = page.entries[0].sequence - 1, page
        for watch in self.watches:
            watch.wake()


class History:
    """The pages that were read last, of those that later appends do not change.

    Small ones only, and none of runs of earlier versions, which cannot be told from others with their id.
    """

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[str, str, int, int], Page] = OrderedDict()

    def get(self, run_id: str, incarnation: str, after: int, limit: int) -> Page | None:
        """Return a page that was read before."""
        return self._pages.get((run_id, incarnation, after, limit))

    def add(self, run_id: str, incarnation: str, after: int, limit: int, page: Page) -> None:
        """Keep a page, if it can be kept."""
        unchanging = page.entries and (page.more or page.closed)
        if incarnation and unchanging and page.size <= PAGE_BYTES:
            self._pages[run_id, incarnation, after, limit] = page
            if len(self._pages) > _HISTORY_PAGES:
                self._pages.popitem(last=False)

    def clear(self) -> None:
        """Drop all pages: Redis may have been set back to a state without their events."""
        self._pages.clear()
