"""Descriptions of the other endpoints, which monitor and describe the service: `/health`, `/info`, etc."""

from typing import Any

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.openapi import error_responses, examples
from dockrion.openapi.operation import FLAG, JSON, TEXT, Operation, json_response, param, response

_PAGE = response("The page.", {"text/html": TEXT})
_DOCUMENT = response("The document.", {JSON: {"schema": {"type": "object", "additionalProperties": True}}})


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    asset = _service(
        "Get a file of the web page",
        response("The file.", dict.fromkeys(("text/css", "text/javascript", "image/svg+xml"), TEXT)),
        errors=(errors.NotFound,),
    )
    return {
        "GET /": _service("Get the web page", _PAGE),
        "GET /assets/{file}": asset,
        "GET /assets/{folder}/{file}": asset,
        "GET /health": _service(
            "Check that the process is alive",
            json_response(examples.health(dockfile), "The process is alive."),
        ),
        "GET /ready": _service(
            "Check that the service accepts runs",
            json_response(examples.ready(dockfile), "The service accepts runs."),
            parameters=[
                param("accepting", "Respond with 503 while every slot for agents is taken.", FLAG),
                param("verbose", f"Show the state of each dependency.{_permitted(dockfile)}", FLAG),
            ],
            errors=(errors.ServiceUnavailable, *_refusals(dockfile)),
            optional_credentials=bool(_refusals(dockfile)),
        ),
        "GET /metrics": _service(
            "Get metrics for Prometheus", response("The metrics.", {"text/plain": TEXT})
        ),
        "GET /schema": _description(
            "Get the schemas of input and output",
            json_response(examples.schemas(dockfile), "The JSON Schemas in the Dockfile."),
        ),
        "GET /info": _description(
            "Get information about the agent",
            json_response(examples.info(dockfile), "The agent, and the Dockfile's `metadata`."),
        ),
        "GET /openapi.json": _description("Describe the endpoints, as OpenAPI 3.1", _DOCUMENT),
        "GET /asyncapi.json": _description("Describe the event streams, as AsyncAPI 3.0", _DOCUMENT),
        "GET /docs": _description("Describe the endpoints, as a web page", _PAGE),
        "GET /docs/{file}": _description(
            "Get a file of the description's web page",
            response("The file.", {"text/css": TEXT, "text/javascript": TEXT}),
            errors=(errors.NotFound,),
        ),
    }


def _permitted(dockfile: Dockfile) -> str:
    return " Requires the permission `view_metrics`." if _refusals(dockfile) else ""


def _refusals(dockfile: Dockfile) -> error_responses.ErrorTypes:
    """Return how callers are refused who may not see metrics, and so no dependencies either."""
    is_open = dockfile.auth is None or not dockfile.protected or "metrics" in dockfile.auth.public
    return () if is_open else (errors.Unauthorized, errors.Forbidden)


def _service(summary: str, ok: dict[str, Any], **more: Any) -> Operation:
    return Operation(tag="service", summary=summary, responses={200: ok}, **more)


def _description(summary: str, ok: dict[str, Any], **more: Any) -> Operation:
    return Operation(tag="description", summary=summary, responses={200: ok}, **more)
