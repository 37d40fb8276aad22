"""What the endpoints are for that say what the service is, and how it does."""

from typing import Any

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.openapi import examples
from dockrion.openapi.media import JSON, TEXT
from dockrion.openapi.operation import Answer, Operation, one


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return their operations, by method and path."""
    return {
        "GET /": _service("A page for people", _page()),
        "GET /assets/{file}": _service(
            "What that page is made of",
            Answer("The file.", dict.fromkeys(("text/css", "text/javascript", "image/svg+xml"), TEXT)),
            errors=(errors.NotFound,),
        ),
        "GET /health": _service("Whether the process lives", one(examples.health(dockfile), "It does.")),
        "GET /ready": _service(
            "Whether the service takes work",
            one(examples.ready(dockfile), "It does."),
            errors=(errors.ServiceUnavailable,),
        ),
        "GET /metrics": _service("Metrics for Prometheus", Answer("The metrics.", {"text/plain": TEXT})),
        "GET /schema": _description(
            "The schemas of input and output", one(examples.schemas(dockfile), "As the Dockfile has them.")
        ),
        "GET /info": _description(
            "The agent, and the Dockfile's metadata", one(examples.info(dockfile), "The agent.")
        ),
        "GET /openapi.json": _description("This description, as OpenAPI 3.1", _document()),
        "GET /asyncapi.json": _description("The streams of events, as AsyncAPI 3.0", _document()),
        "GET /docs": _description("This description, for people", _page()),
        "GET /docs/{file}": _description(
            "What the page of the description is made of",
            Answer("The file.", {"text/css": TEXT, "text/javascript": TEXT}),
            errors=(errors.NotFound,),
        ),
    }


def _service(summary: str, answer: Answer, **more: Any) -> Operation:
    return Operation(tag="service", summary=summary, answers={200: answer}, **more)


def _description(summary: str, answer: Answer, **more: Any) -> Operation:
    return Operation(tag="description", summary=summary, answers={200: answer}, **more)


def _page() -> Answer:
    return Answer("The page.", {"text/html": TEXT})


def _document() -> Answer:
    return Answer("The document.", {JSON: {"schema": {"type": "object"}}})
