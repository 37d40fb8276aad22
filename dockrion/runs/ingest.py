"""Events that other processes push into runs, whichever replica owns those.

A batch is accepted as a whole or not at all. The run's owner validates it, once: other replicas
forward what they receive. Each event is encoded once, when it is published; only a batch that may
hold an event over the size limit is encoded before that too, to measure its events.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from dockrion.backends.owner_messages import OwnerRequest
from dockrion.backends.run_log import Run, RunLog
from dockrion.errors import Conflict, InvalidRequest, RunNotFound, ServiceUnavailable
from dockrion.redaction import Redactor
from dockrion.runs import external_events, process_questions
from dockrion.runs.in_flight import InFlightRun
from dockrion.runs.outcome import Outcome, Stop
from dockrion.runs.outcome_redaction import redacted
from dockrion.runs.owner_requests import PUSH, UNREACHABLE, OwnerRequests
from dockrion.runs.question import Question
from dockrion.runs.tool_policy import ToolDenied, ToolPolicy

MAX_BATCH = 1000
_ROOM_SECONDS = 5.0
_ENVELOPE_BYTES = 512  # reserved for the common fields, which an event gets when it is published
_MAX_PROBLEMS = 20
_MAX_GROWTH = 4  # JSON that is decoded and encoded again grows at most this much: 1e15 to 1000000000000000.0


class Batch(msgspec.Struct, frozen=True):
    """Events that are accepted together, or not at all.

    Attributes:
        events: As their producer sent them.
        producer_seq: The batch's number in the run, from 1, if its producer numbers batches.
    """

    events: list[Any]
    producer_seq: int | None = None


class Receipt(msgspec.Struct, frozen=True, tag="Receipt"):
    """The result of a push, and its owner's reply. Replicas of other versions read the tag too.

    Attributes:
        accepted: How many events were accepted, those that the filter drops included.
        duplicate: Whether the batch had been accepted before.
    """

    accepted: int
    duplicate: bool = False


class _Events(msgspec.Struct, frozen=True):
    """A validated batch.

    Attributes:
        publishable: Its events, as (type, fields).
        end: The outcome of a terminal event.
        questions: The questions among the events.
        asks: Whether there are questions or answers among them.
    """

    publishable: list[tuple[str, dict[str, Any]]]
    end: Outcome | None
    questions: list[Question]
    asks: bool


_batch_decoder = msgspec.json.Decoder(Batch)


class Ingest:
    """Accepts batches for runs of this process, and forwards those for others.

    Args:
        find: Returns the run of this process that has an id and an incarnation, or None.
        backend: Stores the runs.
        requests: Reaches the owners of other runs.
        redactor: Masks secrets in the outcomes that producers push.
        tools: Which tools producers may call.
        max_event_bytes: The size limit of an event.
    """

    def __init__(
        self,
        find: Callable[[str, str | None], InFlightRun | None],
        backend: RunLog,
        requests: OwnerRequests,
        redactor: Redactor,
        tools: ToolPolicy,
        *,
        max_event_bytes: int,
    ) -> None:
        self._find = find
        self._backend = backend
        self._redactor = redactor
        self._tools = tools
        self._max_event_bytes = max_event_bytes
        self._requests = requests
        requests.on(PUSH, self._handle)

    async def push(self, run_id: str, batch: Batch, size: int, incarnation: str | None = None) -> Receipt:
        """Push a batch of events into a run, all of it or nothing.

        Args:
            run_id: The run, on whichever replica.
            batch: The events.
            size: The size of the body that the batch came in, in bytes.
            incarnation: The run's incarnation, None for the run that has the id now.

        Raises:
            RunNotFound: No such run.
            InvalidRequest: Some events are malformed, which `details` lists, there are too many or
                none, or the run is over.
            Conflict: An earlier batch of this producer is missing, or a question was asked already.
            ServiceUnavailable: The batch cannot be accepted now.
        """
        if not 1 <= len(batch.events) <= MAX_BATCH:
            raise InvalidRequest(f"send from 1 to {MAX_BATCH} events at once, not {len(batch.events)}")
        if (run := self._find(run_id, incarnation)) is not None:
            return await self._accept(run, batch, size)
        record = await self._backend.get(run_id)
        if record.unlisted or incarnation not in (None, record.incarnation):
            raise RunNotFound(run_id)
        if record.finished:
            return _receipt_of_finished(batch, record)
        return await self._requests.send(run_id, batch, record.incarnation, Receipt)

    async def _accept(self, run: InFlightRun, batch: Batch, size: int) -> Receipt:
        validated = self._validate(batch.events, size)
        session = run.session
        if session is None:
            raise ServiceUnavailable("the run waits for a free slot; try again later")
        try:
            async with asyncio.timeout(_ROOM_SECONDS):
                await session.from_process.wait_for_room()
        except TimeoutError:
            raise ServiceUnavailable("events cannot be stored at present; try again later") from None
        async with session.from_process.order:
            if _is_duplicate(batch, run.producer_seq):
                return Receipt(0, duplicate=True)
            if run.decided or session.closed:
                raise _finished(run.run_id)
            _refuse_gap(batch, run.producer_seq)
            if validated.questions:
                session.from_process.questions.check(validated.questions)
            end = validated.end and redacted(validated.end, self._redactor)
            run.producer_seq = batch.producer_seq or run.producer_seq
            try:
                await session.from_process.push(validated.publishable, size, asks=validated.asks)
            finally:
                if end is not None:
                    session.ended_elsewhere = True
                    run.stop_for(Stop("ended", outcome=end))
        return Receipt(len(batch.events))

    async def _handle(self, request: OwnerRequest) -> Receipt:
        """Accept a batch from another replica; the run may have ended since it was sent."""
        batch = _batch_decoder.decode(request.body)
        if (run := self._find(request.run_id, request.incarnation)) is not None:
            return await self._accept(run, batch, len(request.body))
        with suppress(RunNotFound):
            record = await self._backend.get(request.run_id)
            if record.finished and request.incarnation in (None, record.incarnation):
                return _receipt_of_finished(batch, record)
        raise ServiceUnavailable(UNREACHABLE)

    def _validate(self, values: Sequence[Any], size: int) -> _Events:
        """Validate the events of a batch, all of which have `size` bytes as they were sent.

        Raises:
            InvalidRequest: Some of them are malformed.
        """
        publishable: list[tuple[str, dict[str, Any]]] = []
        questions: list[Question] = []
        asks = False
        end: Outcome | None = None
        problems: list[dict[str, Any]] = []
        limit = self._max_event_bytes - _ENVELOPE_BYTES
        may_be_too_large = size * _MAX_GROWTH > limit
        for index, value in enumerate(values):
            try:
                if end is not None:
                    raise ValueError("nothing can follow a terminal event")  # noqa: TRY301  reported as the others are
                if may_be_too_large and (length := len(msgspec.json.encode(value))) > limit:
                    raise ValueError(f"the event has {length} bytes, more than the limit of {limit}")  # noqa: TRY301  as above
                event = external_events.parse(value)
                if event.outcome is not None:
                    end = event.outcome
                    continue
                fields = event.fields()
                if event.type in process_questions.EVENTS:
                    asks = True
                    questions += self._questions(fields)
                if event.type == "tool_call" and not self._tools.allows(fields["name"]):
                    self._tools.on_denied()
                    raise ToolDenied(fields["name"])  # noqa: TRY301  as above
                publishable.append((event.type, fields))
            except (ToolDenied, ValueError) as error:
                problems.append({"event": index, "error": str(error)})
        if problems:
            message = f"{len(problems)} of {len(values)} events are malformed; none was accepted"
            raise InvalidRequest(message, details=problems[:_MAX_PROBLEMS])
        return _Events(publishable, end, questions, asks)

    def _questions(self, fields: dict[str, Any]) -> list[Question]:
        """Return the question in an event, checked; none if the event is an answer.

        Raises:
            ValueError: It is invalid.
        """
        question: Question | None = fields.get("question")
        if question is None:
            return []
        try:
            question.validated(self._max_event_bytes)
        except TypeError as error:
            raise ValueError(str(error)) from None
        return [question]


def _is_duplicate(batch: Batch, accepted: int) -> bool:
    return batch.producer_seq is not None and batch.producer_seq <= accepted


def _refuse_gap(batch: Batch, accepted: int) -> None:
    if batch.producer_seq is not None and batch.producer_seq > accepted + 1:
        message = f"batch {batch.producer_seq} came before batch {accepted + 1}"
        raise Conflict(message, details={"expected": accepted + 1})


def _receipt_of_finished(batch: Batch, record: Run) -> Receipt:
    if _is_duplicate(batch, record.metadata.get(external_events.PRODUCER_SEQ, 0)):
        return Receipt(0, duplicate=True)
    raise _finished(record.run_id)


def _finished(run_id: str) -> InvalidRequest:
    return InvalidRequest(f"run {run_id!r} is finished; nothing can follow")
