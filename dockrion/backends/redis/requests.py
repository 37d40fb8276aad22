"""Questions to the replica that owns a run, and its answers."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress

from dockrion.backends.owner_messages import OwnerRequest, wait_for_reply
from dockrion.backends.redis.store import Store
from dockrion.errors import CorruptLog, RunNotFound, ServiceUnavailable

_QUESTION_SECONDS = 60  # one that nobody has looked at by then is gone
_MOST_WAITING = 10_000


class Asking:
    """Asks other replicas, and hears what they ask.

    Args:
        store: Where the runs are.
        replica: This replica.
    """

    def __init__(self, store: Store, replica: str) -> None:
        self._store = store
        self._replica = replica
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._asked: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue(_MOST_WAITING)

    async def ask(self, run_id: str, question: bytes) -> bytes:
        """Return the answer of a run's owner.

        Raises:
            RunNotFound: No such run.
            ServiceUnavailable: The owner does not answer in time.
        """
        number = secrets.token_hex(8)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self._store.leave_question(run_id, question, _QUESTION_SECONDS, number, self._replica)
            return await wait_for_reply(self._waiting[number])
        finally:
            del self._waiting[number]

    def hear_question(self, run_id: str, number: str, asker: str) -> None:
        """Take note of a question. It is looked at when somebody asks for questions."""
        with suppress(asyncio.QueueFull):  # nobody does; its asker is told that nobody wait_for_reply
            self._asked.put_nowait((run_id, number, asker))

    def hear_answer(self, number: str, answer: bytes) -> None:
        """Pass on an answer, if somebody still waits for it."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def questions(self) -> AsyncIterator[OwnerRequest]:
        """Yield the questions about this replica's runs, without end."""
        while True:
            run_id, number, asker = await self._asked.get()
            try:
                text = await self._store.take_question(run_id, number)
            except (ServiceUnavailable, CorruptLog, RunNotFound):
                continue  # its asker is told that nobody wait_for_reply

            async def answer(reply: bytes, number: str = number, asker: str = asker) -> None:
                await self._store.answer(asker, number, reply)

            yield OwnerRequest(run_id, text, answer)
