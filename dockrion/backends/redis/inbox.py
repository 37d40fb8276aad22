"""The inbox of a replica: a stream of messages from other replicas, read by one blocking command.

Blocking on one inbox costs the same for any number of watched runs: 1 ms a wake-up, where XREAD
over 1,000 idle streams takes 8 ms. A writer adds a message to the inbox of each replica with readers
of its run, in the same round trip as the batch. Messages carry no events; their recipient reads
those from the log.

Messages are deleted after dispatch, and each read starts at the beginning of the stream, so a lost
connection loses no message; dispatching one twice is harmless. Where messages may be missing (the
connection failed, or the stream was trimmed), all readers are woken to read their logs. A request to
cancel is also stored in the run, where the next renewal of its lease sees it.

Fields of a message, which replicas of other versions read too:
    run                                 a watched run has new events
    run, incarnation, cancel            a request to cancel a run of this replica, with the reason
    run, incarnation, question, from    a request about a run of this replica: its number and its sender,
                                        and `size`, that of its body
    answer, text                        the reply to the request with that number
    work                                a run waits for this replica
"""

import asyncio

from dockrion.backends.owner_messages import RunRef
from dockrion.backends.redis.client import BLOCK_SECONDS, RETRY_SECONDS, RedisClient
from dockrion.backends.redis.keys import Command
from dockrion.backends.redis.leases import LeaseKeeper
from dockrion.backends.redis.queue import RedisQueue
from dockrion.backends.redis.records import decode_reason
from dockrion.backends.redis.requests import OwnerRequests
from dockrion.backends.redis.subscriptions import Subscriptions
from dockrion.errors import CorruptLog, ServiceUnavailable

_MAX_MESSAGES = 1000
_MAX_DIGITS = 12


class Inbox:
    """Reads and dispatches the messages to this replica.

    Args:
        client: The connections.
        key: The stream with the messages.
        subscriptions: Gets the ids of runs that have new events.
        leases: Gets requests to cancel.
        requests: Gets requests and replies.
        queue: Gets told that a run waits.
    """

    def __init__(
        self,
        client: RedisClient,
        key: str,
        subscriptions: Subscriptions,
        leases: LeaseKeeper,
        requests: OwnerRequests,
        queue: RedisQueue,
    ) -> None:
        self._client = client
        self._key = key
        self._subscriptions = subscriptions
        self._leases = leases
        self._requests = requests
        self._queue = queue

    async def listen(self) -> None:
        """Read and dispatch messages without end."""
        done: list[bytes] = []
        while True:
            try:
                done = await self._next(done)
            except (ServiceUnavailable, CorruptLog):
                await asyncio.sleep(RETRY_SECONDS)
                self._subscriptions.wake_all()

    async def _next(self, done: list[bytes]) -> list[bytes]:
        """Delete messages that are done, wait for others, dispatch them, and return their ids."""
        block: Command = (
            "XREAD", "COUNT", _MAX_MESSAGES, "BLOCK", int(BLOCK_SECONDS * 1000), "STREAMS", self._key, "0-0",
        )  # fmt: skip
        delete: list[Command] = [("XDEL", self._key, *done)] if done else []
        *_, reply = await self._client.send_blocking(*delete, block)
        if not reply:
            return []
        ((_, messages),) = reply
        for _, fields in messages:
            self._dispatch(fields)
        if len(messages) == _MAX_MESSAGES:  # so many that the stream may have been trimmed
            self._subscriptions.wake_all()
        return [message_id for message_id, _ in messages]

    def _dispatch(self, fields: dict[bytes, bytes]) -> None:
        if b"cancel" in fields:
            self._leases.cancel(_run(fields), decode_reason(fields[b"cancel"]))
        elif b"question" in fields:
            number, sender = _text(fields, b"question"), _text(fields, b"from")
            self._requests.on_request(_run(fields), number, sender, _size(fields))
        elif b"answer" in fields:
            self._requests.on_reply(_text(fields, b"answer"), fields.get(b"text", b""))
        elif b"work" in fields:
            self._queue.wake()
        else:
            self._subscriptions.wake(_text(fields, b"run"))


def _run(fields: dict[bytes, bytes]) -> RunRef:
    """Return which run a message is about; replicas of earlier versions name no incarnation."""
    return RunRef(_text(fields, b"run"), _text(fields, b"incarnation") if b"incarnation" in fields else None)


def _size(fields: dict[bytes, bytes]) -> int:
    """Return the size of a request's body, which replicas of earlier versions do not give."""
    size = fields.get(b"size", b"")
    return int(size) if size.isdigit() and len(size) < _MAX_DIGITS else 0


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")
