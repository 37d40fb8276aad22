"""Answering what agents ask: `POST /runs/{run_id}/input`."""

import msgspec
from aiohttp import web

from dockrion.errors import InvalidRequest
from dockrion.openapi import models
from dockrion.runs.answers import Answer
from dockrion.web import payloads
from dockrion.web.access import CALLER
from dockrion.web.responses import json_response
from dockrion.web.service import SERVICE


async def respond(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    run = await service.access.answerable_run(request)
    answer = await _read(request)
    await service.rate_limiter.count(request)
    await service.answers.give(run, answer)
    return json_response(models.AnswerAccepted(run.run_id, answer.request_id, "accepted"), status=202)


async def _read(request: web.Request) -> Answer:
    """Return the answer in the request's body.

    Raises:
        InvalidRequest: The body is malformed.
        PolicyViolation: The answer contains a blocked phrasing.
    """
    body, size = await payloads.read_json(request)
    try:
        answer = msgspec.convert(body, models.Answer)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the body must be an object with `request_id` and `value`: {error}") from None
    await payloads.refuse_injections(request, answer.value, size)
    caller = request[CALLER]
    return Answer(answer.request_id, answer.value, None if caller is None else caller.user_id)
