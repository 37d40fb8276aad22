"""Dockfiles with different endpoints, and their documents."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dockrion.dockfile import Dockfile
from dockrion.errors import InvalidRequest, NotFound
from dockrion.openapi.asyncapi import asyncapi
from dockrion.openapi.document import openapi
from dockrion.openapi.endpoint import Endpoint
from dockrion.protocols.json_rpc import METHOD_NOT_FOUND
from dockrion.web.routes import routes
from tests.support import dockfile

_TREE = {
    "type": "object",
    "properties": {"tree": {"$ref": "#/$defs/tree"}},
    "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
}
_URL = "http://127.0.0.1:9/"
_GRAPH = {"name": "tested", "entrypoint": "tests.support:placeholder", "framework": "langgraph"}
_SAFETY = {"safety": {"max_output_chars": 10}}

SERVICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "nested": {"io_schema": {"input": _TREE, "output": _TREE}},
    "rest": {"expose": {"streaming": "none"}, "streaming": {"async_runs": False}},
    "sockets": {"expose": {"streaming": "websocket"}, "auth": {}},
    "chat": {"streaming": {"events": {"allowed": "chat"}, "allow_client_ids": False}},
    "ingest": {
        "agent": {"name": "tested", "url": _URL},
        "streaming": {"ingest": {"enabled": True}, "events": {"allowed": ["custom:mood"]}},
    },
    "keys": {"auth": {"mode": "api_key", "rate_limits": {"default": "9/day"}}, "policies": _SAFETY},
    "public": {"auth": {"public": ["metrics", "schema", "info", "docs"]}},
    "header": {
        "auth": {"api_keys": {"header": "X-Mine", "allow_bearer": False}},
        "expose": {"streaming": "none"},
    },
    "jwt": {
        "auth": {"mode": "jwt", "jwt": {"jwks_url": _URL}},
        "streaming": {"ingest": {"enabled": True, "token_env": "INGEST_TOKEN"}},
    },
    "oauth2": {
        "auth": {"mode": "oauth2", "oauth2": {"introspection_url": _URL}},
        "streaming": {"async_runs": False},
    },
    "webhooks": {
        "webhooks": {
            "targets": [{"url": _URL, "secret_env": "A", "events": ["custom", "token"]}],
            "allowed_hosts": ["hooks.example.com"],
            "secret_env": "A",
        },
    },
    "ag-ui": {"expose": {"protocols": ["ag-ui"]}},
    "mcp": {"expose": {"protocols": ["mcp"]}},
    "vercel-ai": {"expose": {"protocols": ["vercel-ai"]}, "streaming": {"async_runs": False}},
    "a2a": {"expose": {"protocols": ["a2a"]}},
    "openai": {"expose": {"rest": True, "protocols": ["openai"]}, "auth": {}},
    "graph": {"agent": _GRAPH, "arguments": {"allow_request_config": True, "timeout_sec": 0}},
}


def service(folder: Path, name: str) -> Dockfile:
    return dockfile(folder, SERVICES[name]).dockfile


def endpoints(dockfile: Dockfile) -> list[Endpoint]:
    return [route.endpoint for route in routes(dockfile)]


def described(dockfile: Dockfile) -> dict[str, Any]:
    return openapi(dockfile, endpoints(dockfile))


def streams(dockfile: Dockfile) -> dict[str, Any]:
    return asyncapi(dockfile, endpoints(dockfile))


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the operations of an OpenAPI document, by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def resolved(document: dict[str, Any], reference: str) -> Any:
    """Resolve a reference within a document (RFC 6901)."""
    assert reference.startswith("#/"), reference
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        found = found[int(name)] if isinstance(found, list) else found[name]
    return found


def references(part: Any) -> list[str]:
    """Return every reference in a document."""
    if isinstance(part, list):
        return [found for each in part for found in references(each)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + references(list(part.values()))


def example_values(document: dict[str, Any], media: dict[str, Any]) -> list[Any]:
    """Return the values of the named examples of a media type object."""
    named = media.get("examples", {}).values()
    return [(resolved(document, each["$ref"]) if "$ref" in each else each)["value"] for each in named]


def code_of(body: dict[str, Any]) -> str:
    """Return the code in the body of an error response."""
    error = body["error"]
    if "jsonrpc" in body:  # errors of the protocol have no other code
        own = NotFound.code if error["code"] == METHOD_NOT_FOUND else InvalidRequest.code
        data = error.get("data") or {}
        if isinstance(data, list):
            return str(data[0].get("metadata", {}).get("code", data[0]["reason"]))
        return str(data.get("code", own))
    return str(error["code"] if isinstance(error, dict) else body["code"])
