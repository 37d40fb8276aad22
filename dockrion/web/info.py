"""The endpoints about the service itself: health, readiness, metrics, schemas, info."""

from datetime import UTC, datetime
from functools import partial

import msgspec
from aiohttp import hdrs, web

import dockrion
from dockrion.errors import ServiceUnavailable
from dockrion.openapi import models
from dockrion.threads import in_thread
from dockrion.web import parameters
from dockrion.web.responses import json_response
from dockrion.web.service import SERVICE


async def health(request: web.Request) -> web.Response:
    agent = request.app[SERVICE].dockfile.agent
    return json_response(
        models.Health(
            status="ok",
            service=f"runtime:{agent.name}",
            version=dockrion.__version__,
            timestamp=datetime.now(UTC),
            agent=agent.name,
            framework=agent.framework,
        )
    )


async def ready(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    accepting, verbose = parameters.boolean(request, "accepting"), parameters.flag(request, "verbose")
    dependencies: dict[str, models.DependencyReport] | msgspec.UnsetType = msgspec.UNSET
    if verbose:
        await service.access.check(request, service.access.rules[metrics])
        dependencies = await service.readiness.report()
    instance = msgspec.UNSET if service.reload is None else service.reload.instance
    try:
        await service.readiness.check(accepting=accepting)
    except ServiceUnavailable as error:
        if service.reload is not None and not service.runs.draining and service.loading.done():
            error.details = {"instance": instance}  # whose author wants to know why
        if verbose:
            error.details = (error.details or {}) | {"dependencies": msgspec.to_builtins(dependencies)}
        raise
    name = service.dockfile.agent.name
    return json_response(
        models.Ready(success=True, status="ready", agent=name, instance=instance, dependencies=dependencies)
    )


async def metrics(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    await service.readiness.show_queue()
    expose = partial(service.metrics.exposition, request.headers.get(hdrs.ACCEPT, ""))
    # Thousands of samples, or the files of many processes, take a while.
    async with service.scrapes:
        body, content_type = await in_thread(expose, "dockrion-metrics")
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type, hdrs.VARY: hdrs.ACCEPT})


async def schema(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    dockfile = service.dockfile
    return json_response(
        models.Schemas(
            success=True,
            agent=dockfile.agent.name,
            input_schema=service.redactor.mask_value(dockfile.io_schema.input),
            output_schema=service.redactor.mask_value(dockfile.io_schema.output),
            threads=service.takes_threads,
        )
    )


async def info(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    dockfile = service.dockfile
    extra = {
        path.removeprefix("metadata."): value
        for path, value in service.unknown_fields.items()
        if path.startswith("metadata.")
    }
    agent = models.Agent(
        name=dockfile.agent.name,
        description=dockfile.agent.description,
        framework=dockfile.agent.framework,
        mode=dockfile.agent.mode,
        target=dockfile.agent.target,
    )
    return json_response(
        models.Info(
            success=True,
            agent=service.redactor.mask_value(msgspec.to_builtins(agent)),
            role=service.role,
            auth_enabled=dockfile.protected,
            version=dockrion.__version__,
            metadata=service.redactor.mask_value(msgspec.to_builtins(dockfile.metadata) | extra),
            endpoints=_endpoints(request.app),
            protocols=list(dockfile.expose.protocols),
            heartbeat_interval=dockfile.streaming.events.heartbeat_interval,
        )
    )


def _endpoints(app: web.Application) -> list[str]:
    """Return the endpoints, as `METHOD /path`."""
    return sorted(
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method not in (hdrs.METH_HEAD, hdrs.METH_OPTIONS)
    )
