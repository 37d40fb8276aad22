"""Taking events from other processes: who may send them, and in which form."""

from ipaddress import ip_address
from typing import Any

import msgspec
from aiohttp import hdrs, web

from dockrion.errors import Forbidden, InvalidRequest, Unauthorized
from dockrion.events import MAX_SEQUENCE
from dockrion.openapi import models
from dockrion.runs.ingest import Batch
from dockrion.web import payloads
from dockrion.web.ownership import refuse_others
from dockrion.web.responses import answer
from dockrion.web.service import SERVICE

_LINES = ("application/x-ndjson", "application/jsonl")
# A page in a browser, or a proxy that speaks for others, would pass for this machine.
_OF_OTHERS = (hdrs.ORIGIN, hdrs.FORWARDED, hdrs.X_FORWARDED_FOR, "X-Real-IP", "Via")


async def push(request: web.Request) -> web.Response:
    """Take a batch of events for a run."""
    access = request.app[SERVICE].access
    if not access.protected:
        refuse_strangers(request)
    elif not access.is_producer(request):
        await refuse_others(request)
    run_id = payloads.run_id(request)
    producer_seq = payloads.integer(request, "producer_seq", 0, 1, MAX_SEQUENCE) or None
    batch = Batch(await _events(request), producer_seq)
    receipt = await request.app[SERVICE].ingest.push(run_id, batch)
    return answer(models.Pushed(success=True, run_id=run_id, **msgspec.structs.asdict(receipt)))


def refuse_strangers(request: web.Request) -> None:
    """Return if the peer may send events, where callers need not say who they are.

    Raises:
        Unauthorized: It has not the token.
        Forbidden: No token is set, and it is on another machine, or may speak for others.
    """
    access = request.app[SERVICE].access
    if access.knows_producers:
        if not access.is_producer(request):
            raise Unauthorized("send the token for events: Authorization: Bearer …")
    elif not _is_local(request):
        raise Forbidden("only this machine may send events; see streaming.ingest.token_env")


def _is_local(request: web.Request) -> bool:
    transport = request.transport
    if transport is None or any(name in request.headers for name in _OF_OTHERS):
        return False
    ours, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if not isinstance(ours, tuple):  # a unix socket
        return True
    address = ip_address(peer[0].partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or peer[0] == ours[0]


async def _events(request: web.Request) -> list[Any]:
    if request.content_type not in _LINES:
        value, _ = await payloads.json(request)
        return value if isinstance(value, list) else [value]
    lines = (await payloads.body(request)).split(b"\n")
    max_depth = request.app[SERVICE].dockfile.limits.max_json_depth
    return [_decoded(line, number, max_depth) for number, line in enumerate(lines) if line.strip()]


def _decoded(line: bytes, number: int, max_depth: int) -> Any:
    try:
        return payloads.decoded(line, max_depth)
    except ValueError as error:
        problem = {"line": number + 1, "error": f"not valid JSON: {error}"}
        raise InvalidRequest("a line is not valid JSON, nothing was taken", details=[problem]) from None
