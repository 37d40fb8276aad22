"""The one connection on which a process waits for what is new."""

import asyncio
from collections.abc import Callable

from dockrion.backends.redis.client import BLOCK_SECONDS, Link
from dockrion.backends.redis.keys import Command
from dockrion.backends.redis.records import decode_reason
from dockrion.errors import CorruptLog, ServiceUnavailable

_NOTES = 1000
_PAUSE_SECONDS = 0.5


class Feed:
    """Reads the notes that are left for a replica: runs that have news, runs to cancel, questions.

    Blocks on one stream, however many runs are watched: what wakes a run's readers on other
    replicas is a note from the run's writer. Notes are deleted when they have been read, so
    none is lost with a connection, and the position is always the beginning.

    Args:
        link: The connections.
        control: The stream with the notes.
        on_news: Called with the id of a run that has new events.
        on_cancel: Called with the id of a run of this replica, and the reason.
        on_question: Called with the id of a run of this replica, a question's number and who asks.
        on_answer: Called with the number of a question of this replica, and the answer.
        on_doubt: Called when notes may have been lost.
    """

    def __init__(
        self,
        link: Link,
        control: str,
        *,
        on_news: Callable[[str], None],
        on_cancel: Callable[[str, str | None], None],
        on_question: Callable[[str, str, str], None],
        on_answer: Callable[[str, bytes], None],
        on_doubt: Callable[[], None],
    ) -> None:
        self._link = link
        self._control = control
        self._on_news = on_news
        self._on_cancel = on_cancel
        self._on_question = on_question
        self._on_answer = on_answer
        self._on_doubt = on_doubt

    async def listen(self) -> None:
        """Read notes for ever."""
        seen: list[bytes] = []
        while True:
            try:
                seen = await self._next(seen)
            except (ServiceUnavailable, CorruptLog):
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
        told = {name.decode(errors="replace"): value for name, value in fields.items()}
        run_id = _text(told, "run")
        if "cancel" in told:
            self._on_cancel(run_id, decode_reason(told["cancel"]))
        elif "question" in told:
            self._on_question(run_id, _text(told, "question"), _text(told, "from"))
        elif "answer" in told:
            self._on_answer(_text(told, "answer"), told.get("text", b""))
        else:
            self._on_news(run_id)


def _text(told: dict[str, bytes], name: str) -> str:
    return told.get(name, b"").decode(errors="replace")
