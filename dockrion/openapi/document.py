"""The endpoints of a service as an OpenAPI document (OpenAPI Specification 3.1.1)."""

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import dockrion
from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.events import EventFilter
from dockrion.ids import REQUEST_ID_HEADER
from dockrion.openapi import (
    error_responses,
    operations_input,
    operations_invoke,
    operations_runs,
    operations_service,
    schemas,
)
from dockrion.openapi.agent_schemas import with_agent_schemas
from dockrion.openapi.endpoint import Endpoint, security_requirements, security_schemes
from dockrion.openapi.operation import Operation
from dockrion.openapi.webhooks import webhook_schemas, webhooks

_UNLIMITED = ("/health", "/ready")  # not counted towards limits.max_connections_per_caller
_TAGS = {
    "invoke": "Run the agent within one request.",
    "runs": "Runs in the background.",
    "events": "The events of runs.",
    "protocols": "The agent for clients of other protocols.",
    "description": "Information about the service.",
    "service": "Health, metrics and the web page.",
}
_PATH_PARAMETERS = {"run_id": operations_runs.RUN_ID}
_TEXT = {"type": "string"}
_REQUEST_ID = "The request's id in the log: that of the request's header of this name, or a new one."
_EVERY_HEADER = {REQUEST_ID_HEADER: {"$ref": "#/components/headers/RequestId"}}


def openapi(dockfile: Dockfile, endpoints: Iterable[Endpoint], prefix: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of a service.

    Args:
        dockfile: The service's Dockfile.
        endpoints: The endpoints it serves.
        prefix: The path below which they are.

    Raises:
        KeyError: An endpoint has no operation.
    """
    known = operations(dockfile)
    served = [(endpoint, known[endpoint.name]) for endpoint in endpoints]
    paths: dict[str, dict[str, Any]] = {}
    for endpoint, operation in served:
        methods = paths.setdefault(endpoint.path, {})
        methods[endpoint.method.lower()] = _operation(endpoint, operation, dockfile)
    tags = {operation.tag for _, operation in served}
    sent = webhooks(dockfile)
    return {
        "openapi": "3.1.1",
        "info": info(dockfile),
        **({"servers": [{"url": prefix}]} if prefix else {}),
        "tags": [{"name": name, "description": words} for name, words in _TAGS.items() if name in tags],
        "paths": paths,
        **({"webhooks": sent} if sent else {}),
        "components": _components(dockfile),
    }


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations of all endpoints that a service may have, by method and path."""
    known = {
        **operations_service.operations(dockfile),
        **operations_invoke.operations(dockfile),
        **operations_runs.operations(dockfile),
        **operations_input.operations(dockfile),
    }
    for name in dockfile.expose.protocols:
        known |= import_module(f"dockrion.openapi.protocols.{name.replace('-', '_')}").operations(dockfile)
    return known


def info(dockfile: Dockfile) -> dict[str, Any]:
    """Return the info object of the OpenAPI and AsyncAPI documents."""
    agent, metadata = dockfile.agent, dockfile.metadata
    return {
        "title": agent.name,
        "version": metadata.version or dockrion.__version__,
        "description": agent.description or "An AI agent.",
    }


def _operation(endpoint: Endpoint, operation: Operation, dockfile: Dockfile) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if description := _description(endpoint, operation, dockfile):
        described["description"] = description
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS.get(name, _TEXT)}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    if parameters := [*in_path, *operation.parameters]:
        described["parameters"] = parameters
    if operation.body:
        described["requestBody"] = {"required": operation.body_required, "content": operation.body}
    responses = {str(status): each for status, each in operation.responses.items()}
    responses |= operation.describe_errors(_errors(endpoint, operation, dockfile))
    described["responses"] = {
        status: each | {"headers": each.get("headers", {}) | _EVERY_HEADER}
        for status, each in responses.items()
    }
    optional = operation.optional_credentials
    if security := security_requirements(endpoint, dockfile, optional=optional):
        described["security"] = security
    return described


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"[a-z]+", endpoint.path) or ["page"]
    return "_".join([endpoint.method.lower(), *words])


def _description(endpoint: Endpoint, operation: Operation, dockfile: Dockfile) -> str:
    permissions = " or ".join(f"`{name}`" for name in endpoint.permissions if dockfile.protected)
    required = permissions and f"Requires the permission {permissions}."
    return "\n\n".join(filter(None, [operation.description, required]))


def _errors(endpoint: Endpoint, operation: Operation, dockfile: Dockfile) -> error_responses.ErrorTypes:
    kinds: set[type[errors.DockrionError]] = {errors.InvalidRequest, errors.DockrionError, *operation.errors}
    if endpoint.path not in _UNLIMITED:
        kinds.add(errors.TooManyConnections)
    if endpoint.changes_state and _refuses_pages(dockfile):
        kinds.add(errors.Forbidden)
    if dockfile.protected and not endpoint.public:
        kinds |= {errors.Unauthorized, errors.Forbidden, errors.ServiceUnavailable}
    return kinds


def _refuses_pages(dockfile: Dockfile) -> bool:
    cors = dockfile.expose.cors
    return cors is not None and not ("*" in cors.origins and "*" in cors.methods)


def _components(dockfile: Dockfile) -> dict[str, Any]:
    described = schemas.body_schemas() | schemas.event_schemas(EventFilter(dockfile.streaming.events.allowed))
    if dockfile.streaming.ingest.enabled:
        described |= schemas.pushed_event_schemas()
    if webhooks(dockfile):
        described |= webhook_schemas()
    components = {
        "schemas": with_agent_schemas(described, dockfile.io_schema),
        "examples": error_responses.examples(),
        "headers": {"RequestId": {"description": _REQUEST_ID, "schema": _TEXT}},
    }
    if security := security_schemes(dockfile):
        components["securitySchemes"] = security
    return components
