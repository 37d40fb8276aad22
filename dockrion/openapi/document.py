"""A service's endpoints as an OpenAPI document (OpenAPI Specification 3.1.1)."""

import re
from collections.abc import Iterable
from typing import Any

import dockrion
from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.events import EventFilter
from dockrion.openapi import error_responses, schemas, security
from dockrion.openapi.endpoint import Endpoint
from dockrion.openapi.operation import Answer, Operation
from dockrion.openapi.operations import operations
from dockrion.openapi.operations_runs import RUN_ID

_ALWAYS_ANSWERED = ("/health", "/ready")
_TAGS = {
    "invoke": "The agent, asked.",
    "runs": "Runs go on by themselves.",
    "events": "What agents say while they work.",
    "description": "What the service is.",
    "service": "How the service does.",
}
_PATH_PARAMETERS = {"run_id": RUN_ID, "file": {"type": "string"}}


def openapi(dockfile: Dockfile, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of a service.

    Args:
        dockfile: What the service serves.
        endpoints: Those that there are.

    Raises:
        KeyError: An endpoint is not described.
    """
    known = operations(dockfile)
    described = [(endpoint, known[endpoint.name]) for endpoint in endpoints]
    paths: dict[str, dict[str, Any]] = {}
    for endpoint, operation in described:
        methods = paths.setdefault(endpoint.path, {})
        methods[endpoint.method.lower()] = _operation(endpoint, operation, dockfile)
    used = {operation.tag for _, operation in described}
    return {
        "openapi": "3.1.1",
        "info": info(dockfile),
        "tags": [{"name": name, "description": words} for name, words in _TAGS.items() if name in used],
        "paths": paths,
        "components": _components(dockfile),
    }


def info(dockfile: Dockfile) -> dict[str, Any]:
    """Return what a document says of its service."""
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
    description = _description(endpoint, operation, dockfile)
    if description:
        described["description"] = description
    parameters = [_path_parameter(name) for name in re.findall(r"{(\w+)}", endpoint.path)]
    if parameters := [*parameters, *operation.parameters]:
        described["parameters"] = parameters
    if operation.body:
        described["requestBody"] = {"required": operation.body_required, "content": operation.body}
    described["responses"] = {str(status): _answer(each) for status, each in operation.answers.items()}
    described["responses"] |= error_responses.responses(_errors(endpoint, operation, dockfile))
    if needed := security.requirements(endpoint, dockfile):
        described["security"] = needed
    return described


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"[a-z]+", endpoint.path) or ["page"]
    return "_".join([endpoint.method.lower(), *words])


def _description(endpoint: Endpoint, operation: Operation, dockfile: Dockfile) -> str:
    needed = endpoint.permission if dockfile.protected else None
    return "\n\n".join(filter(None, [operation.description, needed and f"Needs the permission `{needed}`."]))


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name]}


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.content:
        described["content"] = answer.content
    if answer.headers:
        described["headers"] = {
            name: {"description": words, "schema": {"type": "string"}}
            for name, words in answer.headers.items()
        }
    return described


def _errors(endpoint: Endpoint, operation: Operation, dockfile: Dockfile) -> error_responses.Kinds:
    kinds: set[type[errors.DockrionError]] = {errors.InvalidRequest, errors.DockrionError, *operation.errors}
    if endpoint.path not in _ALWAYS_ANSWERED:
        kinds.add(errors.TooManyConnections)
    if dockfile.protected and not endpoint.public:
        kinds |= {errors.Unauthorized, errors.Forbidden, errors.ServiceUnavailable}
    return kinds


def _components(dockfile: Dockfile) -> dict[str, Any]:
    components: dict[str, Any] = {
        "schemas": schemas.of_bodies() | schemas.of_events(EventFilter(dockfile.streaming.events.allowed)),
        "examples": error_responses.examples(error_responses.WHEN),
    }
    if dockfile.streaming.ingest.enabled:
        components["schemas"] |= schemas.of_pushed()
    if (output := dockfile.io_schema.output) is not None:
        _tell_output(components["schemas"]["Invoked"], output)
    if needed := security.schemes(dockfile):
        components["securitySchemes"] = needed
    return components


def _tell_output(invoked: dict[str, Any], output: dict[str, Any]) -> None:
    """Say what an output is like, as a rule: one that breaks its schema is returned all the same."""
    pointer = "#/components/schemas/Invoked/properties/output/anyOf/0"
    choices = [schemas.inlined(output, pointer), {"description": "What `metadata.output_errors` is about."}]
    invoked["properties"]["output"]["anyOf"] = choices
