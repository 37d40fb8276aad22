"""Runs that anyone may watch: pattern B."""

from typing import cast, get_args

from aiohttp import hdrs, web

from dockrion.backends.run_log import BadCursor, Listing, Run, Status
from dockrion.errors import Gone, InvalidRequest
from dockrion.ids import validate_run_id
from dockrion.openapi import models
from dockrion.runs.agent import Agent, Call
from dockrion.web import payloads, polling
from dockrion.web.access import CALLER
from dockrion.web.http_streams import MEDIA_TYPES, HttpStream
from dockrion.web.ownership import listed_owner, readable, refuse_others
from dockrion.web.parameters import negotiated
from dockrion.web.responses import answer
from dockrion.web.service import RUN_ID, SERVICE, Service

_FORMS = (*MEDIA_TYPES, polling.MEDIA_TYPE)


async def create(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    service.runs.ready_agent()
    asked = _client_id(request, service)
    agent = _producer(request, service)
    call = await payloads.call(request) if agent is None else Call(None, caller=request[CALLER])
    await service.rates.count(request)
    request[RUN_ID] = run_id = asked or await service.new_run_id()
    call = payloads.with_events_url(call, request, run_id)
    run = await service.runs.start(call, run_id, agent=agent)
    watched = service.dockfile.expose.streaming != "none"
    accepted = models.Accepted(
        run_id=run_id,
        status=run.status,
        events_url=f"/runs/{run_id}/events" if watched else None,
        created_at=run.created_at,
        **(await service.access.run_token(run) if watched else {}),
    )
    return answer(accepted, status=202, headers={hdrs.LOCATION: f"/runs/{run_id}"})


async def recent(request: web.Request) -> web.Response:
    """List runs, newest first. Outputs, which may be large, are left to `GET /runs/{id}`."""
    status = payloads.choice(request, "status", get_args(Status))
    limit = payloads.integer(request, "limit", 100, 1, 500)
    try:
        listing = await request.app[SERVICE].backend.recent(
            status=cast("Status | None", status),
            limit=limit,
            cursor=request.query.get("cursor"),
            owner=listed_owner(request),
        )
    except BadCursor:
        raise InvalidRequest("?cursor= is the `next` of an earlier answer") from None
    items = [_shown(run, "output") for run in listing.items]
    return answer(Listing(items, listing.next))


async def get(request: web.Request) -> web.Response:
    return answer(_shown(await readable(request)))


async def renew_token(request: web.Request) -> web.Response:
    """Give out one more token for reading a run."""
    run = await readable(request)
    return answer(models.EventsToken(run.run_id, **await request.app[SERVICE].access.run_token(run)))


async def cancel(request: web.Request) -> web.Response:
    await refuse_others(request)
    run_id = payloads.run_id(request)
    await request.app[SERVICE].runs.cancel(run_id, payloads.reason(request))
    return answer(models.RunCancelled(run_id, "cancelled"))


async def events(request: web.Request) -> web.StreamResponse:
    """Pattern B, in the form that the caller accepts."""
    service = request.app[SERVICE]
    media_type = negotiated(request, _FORMS)
    after = payloads.position(request)
    timeout = payloads.timeout(request)
    strict = payloads.boolean(request, "strict")
    run_id = payloads.run_id(request)
    # Of a run that anybody may read, and from its beginning, nothing has to be known.
    run = await readable(request) if after or service.access.protected else None
    if strict:
        await _refuse_gap(service, run_id, after)
    if media_type == polling.MEDIA_TYPE:
        return await polling.poll(request, run_id, after)
    if run is not None and run.finished and after >= run.last_sequence:
        return web.Response(status=204)  # nothing will ever follow: EventSource stops on this
    stream = HttpStream(request, MEDIA_TYPES[media_type])
    await stream.carry(run_id, after, timeout=timeout)
    return stream.response


def _producer(request: web.Request, service: Service) -> Agent | None:
    """Return what stands for an agent that is none of ours, if the run is to be fed by others."""
    if not payloads.boolean(request, "external"):
        return None
    spec = service.dockfile.streaming.ingest
    if not spec.enabled:
        raise InvalidRequest("this service takes no events; see streaming.ingest")
    from dockrion.agents.external import ExternalAgent  # noqa: PLC0415  few use it, and all would give it memory
    from dockrion.web.ingest import refuse_strangers  # noqa: PLC0415  as above

    if not service.access.protected:
        refuse_strangers(request)
    return ExternalAgent(spec.idle_timeout)


def _client_id(request: web.Request, service: Service) -> str | None:
    asked = request.query.get("run_id")
    if asked is None:
        return None
    if not service.dockfile.streaming.allow_client_ids:
        raise InvalidRequest("this service names its runs itself; leave ?run_id= out")
    return validate_run_id(asked)


async def _refuse_gap(service: Service, run_id: str, after: int) -> None:
    page = await service.backend.read(run_id, after, 1)
    if page.entries and page.entries[0].sequence > after + 1:
        first = page.entries[0].sequence
        raise Gone(
            f"events before {first} are gone", details={"requested": after + 1, "first_available": first}
        )


def _shown(run: Run, *left_out: str) -> dict[str, object]:
    """Return what callers see of a run, which is never who made it."""
    return {name: getattr(run, name) for name in Run.__struct_fields__ if name not in {"owner", *left_out}}
