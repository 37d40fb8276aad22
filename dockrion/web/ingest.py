"""Pushing events into runs: at a run's own URL, or with a credential; and runs that are fed in this way."""

import asyncio
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from dockrion.agents.external import ExternalAgent
from dockrion.errors import InvalidRequest, NotFound
from dockrion.events import MAX_SEQUENCE
from dockrion.openapi import models
from dockrion.runs.ingest import Batch
from dockrion.web import parameters, payloads
from dockrion.web.access import PUSH_EVENTS, path_run_id, query_incarnation
from dockrion.web.push_access import PushAccess
from dockrion.web.responses import json_response
from dockrion.web.service import SERVICE
from dockrion.wire import ndjson

T = TypeVar("T")
_NO_STORE = {"Cache-Control": "no-store"}
_REPLY_SECONDS = 15.0  # longer than the owner of a run may take to reply
_JSON_LINES = (ndjson.MEDIA_TYPE, "application/jsonl")


async def push(request: web.Request) -> web.Response:
    """Accept a batch of events of a producer with a credential, or of a unix socket's peer."""
    return await _accept(request, await _producer_incarnation(request))


async def push_to_url(request: web.Request) -> web.Response:
    """Accept a batch of events at the URL that the run's agent process was given."""
    return await _accept(request, await _push_access(request).incarnation(request))


async def fetch_answer(request: web.Request) -> web.Response:
    """Respond with the answer to a question of a producer with a credential, or of a unix socket's peer."""
    return await _fetch(request, await _producer_incarnation(request))


async def fetch_answer_at_url(request: web.Request) -> web.Response:
    """Respond with the answer to a question at the URL that the run's agent process was given."""
    return await _fetch(request, await _push_access(request).incarnation(request))


async def _fetch(request: web.Request, incarnation: str | None) -> web.Response:
    service, run_id, request_id = request.app[SERVICE], path_run_id(request), request.match_info["request_id"]
    wait = parameters.integer(request, "wait", 0, 0, 60)
    value: Any = msgspec.UNSET
    with suppress(TimeoutError):
        async with asyncio.timeout(wait + _REPLY_SECONDS) as deadline:
            service.streams.add(deadline)  # which ends the wait when the service shuts down
            try:
                value = await service.answers.fetch(run_id, incarnation, request_id, wait)
            finally:
                service.streams.remove(deadline)
    if value is msgspec.UNSET:
        return web.Response(status=204, headers=_NO_STORE)
    return json_response(models.FetchedAnswer(run_id, request_id, value), headers=_NO_STORE)


async def _producer_incarnation(request: web.Request) -> str | None:
    """Return the incarnation of the run that the caller means and may feed, None for the current one.

    Raises:
        Unauthorized: The credential is missing or wrong.
        Forbidden: See `PushAccess.require_producer`.
        RunNotFound: The run is another caller's.
    """
    access = request.app[SERVICE].access
    incarnation = query_incarnation(request)
    if access.protected and not _push_access(request).has_token(request):
        await access.check(request, PUSH_EVENTS)
        incarnation = (await access.owned_run(request)).incarnation
    elif not access.protected:
        _push_access(request).require_producer(request)
    return incarnation


def external_agent(request: web.Request) -> ExternalAgent:
    """Return the agent of a run whose events other processes push, if the peer may start one.

    Raises:
        Unauthorized: See `PushAccess.require_producer`.
        Forbidden: See `PushAccess.require_producer`.
    """
    service = request.app[SERVICE]
    if not service.access.protected:
        _push_access(request).require_producer(request)
    return ExternalAgent(service.dockfile.streaming.ingest.idle_timeout)


def _push_access(request: web.Request) -> PushAccess:
    return _enabled(request.app[SERVICE].push_access)


def _enabled(part: T | None) -> T:
    if part is None:
        raise NotFound("this service takes no events; see streaming.ingest")
    return part


async def _accept(request: web.Request, incarnation: str | None) -> web.Response:
    """Accept a batch of events for a run.

    Args:
        request: The request.
        incarnation: The run's incarnation, None for the run that has the id now.
    """
    service, run_id = request.app[SERVICE], path_run_id(request)
    producer_seq = parameters.integer(request, "producer_seq", 0, 1, MAX_SEQUENCE) or None
    events, size = await _events(request)
    receipt = await _enabled(service.ingest).push(run_id, Batch(events, producer_seq), size, incarnation)
    return json_response(models.Pushed(success=True, run_id=run_id, **msgspec.structs.asdict(receipt)))


async def _events(request: web.Request) -> tuple[list[Any], int]:
    """Return the events in the request's body, and its length in bytes."""
    if request.content_type not in _JSON_LINES:
        value, size = await payloads.read_json(request)
        return value if isinstance(value, list) else [value], size
    body = await payloads.read_body(request)
    max_depth = request.app[SERVICE].dockfile.limits.max_json_depth
    lines = enumerate(body.split(b"\n"))
    return [_decode_line(line, number, max_depth) for number, line in lines if line.strip()], len(body)


def _decode_line(line: bytes, number: int, max_depth: int) -> Any:
    try:
        return payloads.decode_json(line, max_depth)
    except ValueError as error:
        problem = {"line": number + 1, "error": f"not valid JSON: {error}"}
        raise InvalidRequest("a line is not valid JSON, nothing was accepted", details=[problem]) from None
