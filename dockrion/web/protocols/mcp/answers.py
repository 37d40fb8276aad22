"""Responses of clients to what a call's stream asks them; see `dockrion.protocols.mcp.asking`."""

import msgspec
from aiohttp import web

from dockrion.backends.run_log import Run
from dockrion.errors import (
    DockrionError,
    InvalidRequest,
    PayloadTooLarge,
    PolicyViolation,
    QuestionNotOpen,
    RunNotFound,
)
from dockrion.events import MAX_REASON_LENGTH
from dockrion.protocols.json_rpc import INVALID_REQUEST, Response, RpcError
from dockrion.protocols.mcp.asking import ElicitationId
from dockrion.protocols.mcp.elicitation import answer_in
from dockrion.protocols.mcp.requests import InputResponse
from dockrion.protocols.mcp.results import refusal_text
from dockrion.web import payloads
from dockrion.web.access import RUN_ID
from dockrion.web.protocols import questions
from dockrion.web.protocols.questions import Question
from dockrion.web.service import SERVICE

_MISMATCH = "the answer does not match:"


async def take_answer(request: web.Request, response: Response) -> None:
    """Answer what a run has asked; do nothing if that is over, or if the client could not ask.

    An answer that is refused ends the run, and so the call, with the reason: nobody would be asked again.

    Args:
        request: The caller's HTTP request.
        response: The response in it.

    Raises:
        RpcError: It is none to what this service asks.
        DockrionError: As `questions.answer`.
    """
    elicitation_id = ElicitationId.parse(response.id)
    if response.failed:
        return
    try:
        given = msgspec.convert(response.result, InputResponse)
    except msgspec.ValidationError as error:
        raise RpcError(INVALID_REQUEST, f"the result is none of elicitation/create: {error!s:.300}") from None
    call = elicitation_id.call
    request[RUN_ID] = call.run_id
    service = request.app[SERVICE]
    try:
        run = await service.access.owned_run(request, call.run_id)
        if run.incarnation == call.incarnation:
            await _answer(request, run, elicitation_id.sequence, given)
    except (RunNotFound, QuestionNotOpen):  # it comes too late, to which there is no reply
        return


async def _answer(request: web.Request, run: Run, sequence: int, given: InputResponse) -> None:
    service = request.app[SERVICE]
    question = await questions.question_at(service.backend, run, sequence)
    if given.action != "accept":
        await questions.answer(request, run, question.request_id, None, declined=True, sequence=sequence)
        return
    depth = service.dockfile.limits.max_json_depth
    try:
        value = answer_in(
            given.content or {}, question.schema, lambda data: payloads.decode_json(data, depth)
        )
        await questions.answer(request, run, question.request_id, value, sequence=sequence)
    except (InvalidRequest, PolicyViolation, PayloadTooLarge) as error:
        await _end_call(request, run, question, error)
        raise


async def _end_call(request: web.Request, run: Run, question: Question, error: DockrionError) -> None:
    reason = refusal_text(error, _MISMATCH)[:MAX_REASON_LENGTH]
    await questions.cancel_unanswered(request.app[SERVICE], run, question, reason)
