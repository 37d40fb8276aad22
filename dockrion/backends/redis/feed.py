"""The one connection on which a process waits for what is new."""

import asyncio
from collections.abc import Callable

from dockrion.backends.redis.keys import Command
from dockrion.backends.redis.link import BLOCK_SECONDS, Link
from dockrion.backends.redis.records import decode_reason
from dockrion.errors import LogUnreadable, ServiceUnavailable

_NOTES = 1000
_PAUSE_SECONDS = 0.5


class Feed:
    """Reads the notes that are left for a replica: runs that have news, runs to cancel.

    Blocks on one stream, however many runs are watched: what wakes a run's readers on other
    replicas is a note from the run's writer. Notes are deleted when they have been read, so
    none is lost with a connection, and the position is always the beginning.

    Args:
        link: The connections.
        control: The stream with the notes.
        on_news: Called with the id of a run that has new events.
        on_cancel: Called with the id of a run of this replica, and the reason.
        on_doubt: Called when notes may have been lost.
    """

    def __init__(
        self,
        link: Link,
        control: str,
        *,
        on_news: Callable[[str], None],
        on_cancel: Callable[[str, str | None], None],
        on_doubt: Callable[[], None],
    ) -> None:
        self._link = link
        self._control = control
        self._on_news = on_news
        self._on_cancel = on_cancel
        self._on_doubt = on_doubt

    async def listen(self) -> None:
        """Read notes for ever."""
        seen: list[bytes] = []
        while True:
            try:
                seen = await self._next(seen)
            except (ServiceUnavailable, LogUnreadable):
                await asyncio.sleep(_PAUSE_SECONDS)
                self._on_doubt()

    async def _next(self, seen: list[bytes]) -> list[bytes]:
        """Delete the notes that were seen, wait for others, and return their ids."""
        block: Command = (
            "XREAD", "COUNT", _NOTES, "BLOCK", int(BLOCK_SECONDS * 1000), "STREAMS", self._control, "0-0",
        )  # fmt: skip
        delete: list[Command] = [("XDEL", self._control, *seen)] if seen else []
        *_, reply = await self._link.listen(*delete, block)
        if not reply:
            return []
        ((_, notes),) = reply
        for _, fields in notes:
            self._take(fields)
        if len(notes) == _NOTES:  # so many that older ones may have been dropped
            self._on_doubt()
        return [note_id for note_id, _ in notes]

    def _take(self, fields: dict[bytes, bytes]) -> None:
        run_id = fields.get(b"run", b"").decode(errors="replace")
        if b"cancel" not in fields:
            self._on_news(run_id)
            return
        self._on_cancel(run_id, decode_reason(fields[b"cancel"]))
