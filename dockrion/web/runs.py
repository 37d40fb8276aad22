"""The `/runs` endpoints: start a run, list and read runs, stream their events (pattern B), cancel them."""

from functools import partial
from typing import Any, cast, get_args

import msgspec
from aiohttp import hdrs, web

from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import INTERNAL_FIELDS, BadCursor, Listing, Run, Status
from dockrion.caller import current_request
from dockrion.errors import Gone, InvalidRequest
from dockrion.ids import INCARNATION_HEADER, validate_run_id
from dockrion.openapi import models
from dockrion.runs.agent import Agent, Call
from dockrion.runs.stored_input import masked_input
from dockrion.threads import in_thread_if_large
from dockrion.web import idempotency, parameters, payloads, polling
from dockrion.web.access import CALLER, owner_filter, path_run_id
from dockrion.web.http_streams import MEDIA_TYPES, HttpStream
from dockrion.web.responses import json_response
from dockrion.web.run_start import start_run
from dockrion.web.service import SERVICE, Service
from dockrion.web.streams import first_position
from dockrion.web.urls import events_url, run_url

_OFFERED = (*MEDIA_TYPES, polling.MEDIA_TYPE)


async def create(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    service.runs.ready_agent()
    key, client_id = idempotency.key_of(request), _client_id(request, service)
    webhook_url = _webhook_url(request, service)
    agent = _external_agent(request, service)
    if agent is None:
        call = await payloads.read_call(request)
    else:
        call = Call(None, request=current_request(), caller=request[CALLER])
    if webhook_url is not None:
        call = msgspec.structs.replace(call, webhook_url=webhook_url)
    run, replayed = await start_run(request, call, run_id=client_id, key=key, agent=agent)
    streamed = service.dockfile.expose.streaming != "none"
    accepted = models.Accepted(
        run_id=run.run_id,
        status="accepted",
        events_url=events_url(request, run.run_id) if streamed else None,
        created_at=run.created_at,
        **(await service.access.run_token(run) if streamed else {}),
    )
    headers = {hdrs.LOCATION: run_url(request, run.run_id), INCARNATION_HEADER: run.incarnation}
    if replayed:
        headers |= idempotency.REPLAYED
    return json_response(accepted, status=202, headers=headers)


async def recent(request: web.Request) -> web.Response:
    """List runs, newest first, without what may be large in them."""
    status = parameters.choice(request, "status", get_args(Status))
    limit = parameters.integer(request, "limit", 100, 1, 500)
    try:
        listing = await request.app[SERVICE].backend.recent(
            status=cast("Status | None", status),
            limit=limit,
            cursor=request.query.get("cursor"),
            owner=owner_filter(request),
            waiting=parameters.boolean(request, "waiting"),
        )
    except BadCursor:
        raise InvalidRequest("?cursor= must be the `next` of an earlier response") from None
    items = [_visible(run, "input", "output") for run in listing.items]
    return json_response(Listing(items, listing.next))


async def get(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    run = await service.access.readable_run(request)
    body = _visible(run, "input_excerpt", "truncated") | {"input": await _shown_input(service, run)}
    return json_response(body, headers={INCARNATION_HEADER: run.incarnation})


async def renew_token(request: web.Request) -> web.Response:
    """Issue another token for reading a run."""
    access = request.app[SERVICE].access
    run = await access.readable_run(request)
    return json_response(models.EventsToken(run.run_id, **await access.run_token(run)))


async def cancel(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    run = await service.access.owned_run(request)
    await service.runs.cancel(run.run_id, parameters.reason(request), run.incarnation)
    return json_response(models.RunCancelled(run.run_id, "cancelled"))


async def events(request: web.Request) -> web.StreamResponse:
    """Stream or poll a run's events (pattern B), in the media type that the caller prefers."""
    service = request.app[SERVICE]
    media_type = parameters.preferred_media_type(request, _OFFERED)
    after = parameters.position(request)
    timeout = parameters.timeout(request)
    strict = parameters.boolean(request, "strict")
    run_id = path_run_id(request)
    polled = media_type == polling.MEDIA_TYPE
    stream_of, start = RunRef(run_id, None), after
    # An open run that is streamed from its beginning needs no look-up: its stream finds out if it exists.
    if after or strict or polled or service.access.protected or "incarnation" in request.query:
        run = await service.access.readable_run(request)
        if strict:
            await _refuse_gap(service, run, after)
        if polled:
            return await polling.poll(request, run, after)
        if run.finished and after == run.last_sequence:
            return web.Response(status=204)  # there are no more events: EventSource stops on this
        stream_of, start = RunRef(run_id, run.incarnation), first_position(run, after)
        del run  # its output may be large
    stream = HttpStream(request, MEDIA_TYPES[media_type])
    await stream.send_run(stream_of, after, start=start, timeout=timeout)
    return stream.response


async def _shown_input(service: Service, run: Run) -> Any:
    """Return a run's input, secrets masked, None if it is not stored."""
    if run.input_excerpt is None:
        return None
    # A replica of an earlier version has put an input without its secret answers into the record.
    body = bytes(run.input or b"") or await service.backend.get_input(run.run_id, run.incarnation)
    if body is None:
        return None
    mask = partial(masked_input, body, service.redactor, service.input_mask)
    return await in_thread_if_large(mask, len(body), f"dockrion-mask-{run.run_id}")


def _external_agent(request: web.Request, service: Service) -> Agent | None:
    """Return the agent of a run whose events another process pushes, None for an ordinary run."""
    if not parameters.boolean(request, "external"):
        return None
    if not service.dockfile.streaming.ingest.enabled:
        raise InvalidRequest("this service accepts no pushed events; see streaming.ingest")
    from dockrion.web.ingest import external_agent  # noqa: PLC0415  memory

    payloads.require_json(request)
    return external_agent(request)


def _client_id(request: web.Request, service: Service) -> str | None:
    run_id = request.query.get("run_id")
    if run_id is None:
        return None
    if not service.dockfile.streaming.allow_client_ids:
        raise InvalidRequest("this service chooses run ids itself; omit ?run_id=")
    return validate_run_id(run_id)


def _webhook_url(request: web.Request, service: Service) -> str | None:
    url = request.query.get("webhook_url")
    if url is None:
        return None
    if service.webhooks is None or service.webhooks.allowed_hosts is None:
        raise InvalidRequest("this service sends no webhooks to callers' URLs; omit ?webhook_url=")
    return service.webhooks.allowed_hosts.check_url(url)


async def _refuse_gap(service: Service, run: Run, after: int) -> None:
    start = first_position(run, after)
    page = await service.backend.read(run.run_id, start, 1, run.incarnation)
    first = page.entries[0].sequence if page.entries else start + 1
    requested = after + 1
    if first == requested:
        return
    message = f"the events before {first} are no longer stored"
    if first < requested:
        message = f"this run has never had event {requested}, another run with its id may have"
    raise Gone(
        f"{message}; read from event {first}", details={"requested": requested, "first_available": first}
    )


def _visible(run: Run, *omitted: str) -> dict[str, object]:
    """Return the fields of a run that the body of a response shows."""
    hidden = (*INTERNAL_FIELDS, *omitted)
    return {name: getattr(run, name) for name in Run.__struct_fields__ if name not in hidden}
