"""Events that other processes push into runs, wherever those run."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dockrion.backends import Backend
from dockrion.backends.owner_messages import OwnerRequest
from dockrion.backends.run_log import Run
from dockrion.errors import Conflict, DockrionError, InvalidRequest, ServiceUnavailable
from dockrion.logs import log
from dockrion.redaction import Redactor
from dockrion.runs import external_events, outcome
from dockrion.runs.execution import STOP_SECONDS
from dockrion.runs.in_flight import InFlightRun
from dockrion.runs.outcome import Outcome, Stop

_logger = logging.getLogger(__name__)
MAX_BATCH = 1000
_ROOM_SECONDS = 5.0
_ENVELOPE_BYTES = 512  # an event's id, run, number and time, which it gets when it is taken
_MAX_PROBLEMS = 20


class Batch(msgspec.Struct, frozen=True):
    """Events that are taken together, or not at all.

    Attributes:
        events: As their producer sent them.
        producer_seq: The batch's number in the run, from 1, if its producer counts.
    """

    events: list[Any]
    producer_seq: int | None = None


class Receipt(msgspec.Struct, frozen=True, tag=True):
    """What became of a batch.

    Attributes:
        accepted: How many events were taken; those that the filter drops count as well.
        duplicate: Whether the batch had been taken before.
    """

    accepted: int
    duplicate: bool = False


class _Refused(msgspec.Struct, frozen=True, tag=True):
    """Why the run's owner did not take a batch, on its way to the replica that was asked."""

    kind: str
    message: str
    details: Any = None


class _Checked(msgspec.Struct, frozen=True):
    events: list[tuple[str, dict[str, Any]]]
    end: Outcome | None


_REFUSALS: dict[str, type[DockrionError]] = {
    kind.__name__: kind for kind in (InvalidRequest, Conflict, ServiceUnavailable)
}
_reply_decoder = msgspec.json.Decoder(Receipt | _Refused)
_batch_decoder = msgspec.json.Decoder(Batch)


class Ingest:
    """Takes batches for runs of this process, and passes on those for others.

    Args:
        find: Returns the run of this process that has an id, or None.
        backend: Where runs are kept.
        redactor: Cleans what producers say of failures.
        max_event_bytes: How large an event may be.
    """

    def __init__(
        self,
        find: Callable[[str], InFlightRun | None],
        backend: Backend,
        redactor: Redactor,
        *,
        max_event_bytes: int,
    ) -> None:
        self._find = find
        self._backend = backend
        self._redactor = redactor
        self._max_event_bytes = max_event_bytes
        self._answering: set[asyncio.Task[None]] = set()
        self._listener = asyncio.create_task(self._listen())

    async def push(self, run_id: str, batch: Batch) -> Receipt:
        """Take a batch of events for a run, all of it or nothing.

        Args:
            run_id: The run, on whichever replica.
            batch: The events.

        Raises:
            RunNotFound: No such run.
            InvalidRequest: An event is wrong, with each one's reason, or the run is over.
            Conflict: An earlier batch of this producer is missing.
            ServiceUnavailable: It cannot be taken now.
        """
        checked = _check(batch.events, self._max_event_bytes)
        if (in_flight := self._find(run_id)) is not None:
            return await self._take(in_flight, batch, checked)
        run = await self._backend.get(run_id)
        if run.finished:
            return _receipt_of_finished(batch, run)
        answer = await self._backend.request_owner(run_id, msgspec.json.encode(batch))
        reply: Receipt | _Refused = _reply_decoder.decode(answer)
        if isinstance(reply, _Refused):
            raise _REFUSALS[reply.kind](reply.message, details=reply.details)
        return reply

    async def aclose(self) -> None:
        """Take nothing more."""
        tasks = (self._listener, *self._answering)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_SECONDS)

    async def _take(self, in_flight: InFlightRun, batch: Batch, checked: _Checked) -> Receipt:
        session = in_flight.session
        if session is None:
            raise ServiceUnavailable("the run waits for its slot; try again later")
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                await session.wait_for_room()
        except TimeoutError:
            raise ServiceUnavailable("events cannot be stored at present; try again later") from None
        # From here on nothing waits, so that of two equal batches one is the first.
        if _is_duplicate(batch, in_flight.producer_seq):
            return Receipt(0, duplicate=True)
        if in_flight.decided or session.closed:
            raise _over(in_flight.run_id)
        _refuse_missing(batch, in_flight.producer_seq)
        end = checked.end and outcome.cleaned(checked.end, self._redactor)
        session.push(checked.events)
        in_flight.producer_seq = batch.producer_seq or in_flight.producer_seq
        if end is not None:
            session.ended_elsewhere = True
            in_flight.stop_for(Stop("ended", outcome=end))
        return Receipt(len(batch.events))

    async def _push_here(self, run_id: str, batch: Batch) -> Receipt | _Refused:
        """Take a batch for a run of this process, also when that has ended on the batch's way here."""
        if (in_flight := self._find(run_id)) is not None:
            return await self._take(in_flight, batch, _check(batch.events, self._max_event_bytes))
        run = await self._backend.get(run_id)
        return _receipt_of_finished(batch, run) if run.finished else _gone()

    async def _listen(self) -> None:
        async for question in self._backend.owner_requests():
            task = asyncio.create_task(self._answer(question))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, question: OwnerRequest) -> None:
        reply: Receipt | _Refused
        try:
            batch = _batch_decoder.decode(question.body)
            reply = await self._push_here(question.run_id, batch)
        except tuple(_REFUSALS.values()) as error:
            reply = _Refused(type(error).__name__, error.message, error.details)
        except Exception as error:
            log(_logger, logging.ERROR, "pushed events not taken", run_id=question.run_id, error=error)
            reply = _gone()
        try:
            await question.reply(msgspec.json.encode(reply))
        except ServiceUnavailable as error:
            log(_logger, logging.WARNING, "pushed events not answered", run_id=question.run_id, error=error)


def _check(values: Sequence[Any], most: int) -> _Checked:
    """Return the events of a batch, ready to be published.

    Raises:
        InvalidRequest: Some of them are wrong.
    """
    if not 1 <= len(values) <= MAX_BATCH:
        raise InvalidRequest(f"send from 1 to {MAX_BATCH} events at once, not {len(values)}")
    checked: list[tuple[str, dict[str, Any]]] = []
    end: Outcome | None = None
    problems: list[dict[str, Any]] = []
    for number, value in enumerate(values):
        try:
            if end is not None:
                raise ValueError("nothing can follow a terminal event")  # noqa: TRY301  said as the others are
            if (size := len(msgspec.json.encode(value))) > most - _ENVELOPE_BYTES:
                raise ValueError(f"the event has {size} bytes; {most - _ENVELOPE_BYTES} is the most")  # noqa: TRY301  as above
            event = external_events.parse(value)
            if event.outcome is not None:
                end = event.outcome
            else:
                checked.append((event.type, event.fields()))
        except ValueError as error:
            problems.append({"event": number, "error": str(error)})
    if problems:
        raise InvalidRequest(
            f"{len(problems)} of {len(values)} events are wrong, none was taken",
            details=problems[:_MAX_PROBLEMS],
        )
    return _Checked(checked, end)


def _is_duplicate(batch: Batch, taken: int) -> bool:
    return batch.producer_seq is not None and batch.producer_seq <= taken


def _refuse_missing(batch: Batch, taken: int) -> None:
    if batch.producer_seq is not None and batch.producer_seq > taken + 1:
        raise Conflict(
            f"batch {batch.producer_seq} came before batch {taken + 1}", details={"expected": taken + 1}
        )


def _receipt_of_finished(batch: Batch, run: Run) -> Receipt:
    if _is_duplicate(batch, run.metadata.get(InFlightRun.PRODUCER_SEQ, 0)):
        return Receipt(0, duplicate=True)
    raise _over(run.run_id)


def _over(run_id: str) -> InvalidRequest:
    return InvalidRequest(f"run {run_id!r} is finished; nothing can follow")


def _gone() -> _Refused:
    return _Refused("ServiceUnavailable", "the run cannot be reached at present; try again later")
