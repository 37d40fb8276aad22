"""The words that operations are described in."""

from typing import Any

import msgspec

from dockrion.openapi.error_responses import Kinds
from dockrion.openapi.media import JSON
from dockrion.openapi.schemas import ref


class Answer(msgspec.Struct, frozen=True):
    """A response that is no error.

    Attributes:
        description: When it comes, and what it means.
        content: Media types and their OpenAPI media type objects.
        headers: Names of headers and what they say.
    """

    description: str
    content: dict[str, Any] = {}
    headers: dict[str, str] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a route is for.

    Attributes:
        tag: Its group.
        summary: What it does, in a few words.
        answers: By status.
        description: More, where more is to be said.
        parameters: OpenAPI parameter objects; those of the path aside.
        body: The media types that a body may have, with their media type objects; none for no body.
        body_required: Whether there has to be one.
        errors: What can go wrong, beside what can everywhere.
    """

    tag: str
    summary: str
    answers: dict[int, Answer]
    description: str = ""
    parameters: list[dict[str, Any]] = []
    body: dict[str, Any] = {}
    body_required: bool = True
    errors: Kinds = ()


def query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a query parameter that may be left out."""
    return {"name": name, "in": "query", "description": description, "schema": schema}


def header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a header that may be left out."""
    return {"name": name, "in": "header", "description": description, "schema": schema}


def whole(low: int, high: int, default: int | None = None) -> dict[str, Any]:
    """Return the schema of a whole number."""
    limits: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    return limits if default is None else limits | {"default": default}


def flag() -> dict[str, Any]:
    """Return the schema of a `true` or `false` that is false when it is not there."""
    return {"type": "boolean", "default": False}


def one(example: msgspec.Struct, description: str, headers: dict[str, str] | None = None) -> Answer:
    """Return an answer in JSON whose body is such a struct as the example."""
    media = {"schema": ref(type(example).__name__), "example": msgspec.to_builtins(example)}
    return Answer(description, {JSON: media}, headers or {})
