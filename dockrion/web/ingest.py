"""`POST /runs/{run_id}/events`: who may push events, and in which media types."""

from ipaddress import ip_address
from typing import Any

import msgspec
from aiohttp import hdrs, web

from dockrion.agents.external import ExternalAgent
from dockrion.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from dockrion.events import MAX_SEQUENCE
from dockrion.openapi import models
from dockrion.runs.ingest import Batch
from dockrion.web import parameters, payloads
from dockrion.web.access import path_run_id, query_incarnation
from dockrion.web.responses import json_response
from dockrion.web.service import SERVICE
from dockrion.wire import ndjson

_JSON_LINES = (ndjson.MEDIA_TYPE, "application/jsonl")
# A browser page or a proxy that forwards for others would otherwise count as a local process.
_FORWARDING = (hdrs.ORIGIN, hdrs.FORWARDED, hdrs.X_FORWARDED_FOR, "X-Real-IP", "Via")


async def push(request: web.Request) -> web.Response:
    """Accept a batch of events for a run."""
    service = request.app[SERVICE]
    if service.ingest is None:
        raise NotFound("this service takes no events; see streaming.ingest")
    run_id, incarnation = path_run_id(request), query_incarnation(request)
    if not service.access.protected:
        _require_ingest_access(request)
    elif not service.access.has_valid_ingest_token(request):
        incarnation = (await service.access.owned_run(request)).incarnation
    producer_seq = parameters.integer(request, "producer_seq", 0, 1, MAX_SEQUENCE) or None
    events, size = await _events(request)
    receipt = await service.ingest.push(run_id, Batch(events, producer_seq), size, incarnation)
    return json_response(models.Pushed(success=True, run_id=run_id, **msgspec.structs.asdict(receipt)))


def external_agent(request: web.Request) -> ExternalAgent:
    """Return the agent of a run whose events other processes push, if the peer may start one.

    Raises:
        Unauthorized: See `_require_ingest_access`.
        Forbidden: See `_require_ingest_access`.
    """
    service = request.app[SERVICE]
    if not service.access.protected:
        _require_ingest_access(request)
    return ExternalAgent(service.dockfile.streaming.ingest.idle_timeout)


def _require_ingest_access(request: web.Request) -> None:
    """Refuse a peer that may not push events, where callers do not authenticate.

    Raises:
        Unauthorized: A token is configured, and the request lacks it.
        Forbidden: No token is configured, and the peer is not a process on this machine.
    """
    access = request.app[SERVICE].access
    if access.has_ingest_token:
        if not access.has_valid_ingest_token(request):
            raise Unauthorized("send the token for events: Authorization: Bearer …")
    elif not _is_local(request):
        raise Forbidden("only this machine may send events; see streaming.ingest.token_env")


def _is_local(request: web.Request) -> bool:
    transport = request.transport
    if transport is None or any(name in request.headers for name in _FORWARDING):
        return False
    ours, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if not isinstance(ours, tuple):  # a unix socket
        return True
    address = ip_address(peer[0].partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or peer[0] == ours[0]


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
