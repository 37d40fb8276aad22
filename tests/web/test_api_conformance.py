"""Schemathesis sends requests to every described operation, and checks the responses."""

import asyncio
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import Serve
from tests.openapi.services import code_of, example_values, operations
from tests.support import INGEST, PUSH_TOKEN

KNOWN = "finished"
PROTOCOLS = ["openai", "ag-ui", "vercel-ai", "a2a", "mcp"]
EXAMPLES = 6  # per operation and mode
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
INPUT = {
    "type": "object",
    "properties": {"word": {"type": "string", "maxLength": 20}, "times": {"$ref": "#/$defs/times"}},
    "required": ["word"],
    "additionalProperties": False,
    "$defs": {"times": {"type": "integer", "minimum": 1, "maximum": 9}},
}
OUTPUT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


async def repeat(payload: Any) -> dict[str, str]:
    return {"text": payload["word"] * int(payload.get("times", 1))}


async def answer(payload: Any) -> str:
    return f"{len(payload['messages'])} messages"


async def test_responses_match_the_description(serve: Serve) -> None:
    served = await serve(
        repeat,
        io_schema={"input": INPUT, "output": OUTPUT},
        streaming={"ingest": INGEST, "connection": {"default_timeout": 1}},
    )
    await served.start({"word": "a"}, run_id=KNOWN)
    await served.finished(KNOWN)
    async with served.client.get("/openapi.json") as answer:
        document = await answer.json()
    url = f"http://127.0.0.1:{served.port}"
    await asyncio.to_thread(ask_every_operation, document, url)


async def test_responses_of_protocols_match_the_description(serve: Serve) -> None:
    served = await serve(answer, expose={"protocols": PROTOCOLS})
    async with served.client.get("/openapi.json") as described:
        document = await described.json()
    paths = document["paths"].items()
    document["paths"] = {
        path: methods
        for path, methods in paths
        if any("protocols" in each["tags"] for each in methods.values())
    }
    assert document["paths"]
    await asyncio.to_thread(ask_every_operation, document, f"http://127.0.0.1:{served.port}")


def ask_every_operation(document: dict[str, Any], url: str) -> None:
    """Send valid requests to every operation, and invalid ones where there are any."""
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # a bad one fails here
        described = codes(document, operations(document)[operation.label])
        ask(operation, GenerationMode.POSITIVE, url, described)
        if operation.query or operation.body:
            ask(operation, GenerationMode.NEGATIVE, url, described)


def ask(operation: Any, mode: GenerationMode, url: str, described: dict[int, set[str]]) -> None:
    right = mode is GenerationMode.POSITIVE

    @seed(0)
    @settings(
        max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    def examine(case: Any, of_known_run: bool) -> None:
        case.query.pop("external", None)  # else the body is ignored
        if right:
            case.query.pop("cursor", None)  # a valid one cannot be generated
        if right and of_known_run and "run_id" in case.path_parameters:
            case.path_parameters["run_id"] = KNOWN
        verdict = [positive_data_acceptance] if right and is_all_it_takes(case) else []
        response = case.call(base_url=url, timeout=10, headers={"Authorization": f"Bearer {PUSH_TOKEN}"})
        if response.status_code >= 400:
            assert code_of(response.json()) in described[response.status_code]
        elif not right and not is_refused_by_json_rpc(response):
            verdict = [negative_data_rejection]
        case.validate_response(response, checks=[*CHECKS, *verdict])

    examine()


def codes(document: dict[str, Any], operation: dict[str, Any]) -> dict[int, set[str]]:
    """Return the error codes that the examples of an operation's responses show, by status."""
    shown = {}
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            media = response["content"]["application/json"]
            shown[int(status)] = {code_of(each) for each in example_values(document, media)}
    return shown


def is_refused_by_json_rpc(response: Any) -> bool:
    """Return whether a response with the status 200 says that the request failed."""
    body = response.json() if response.content.startswith(b'{"jsonrpc"') else {}
    return "error" in body


def is_all_it_takes(case: Any) -> bool:
    """Return whether a request that matches the description is accepted in any state."""
    over = KNOWN in case.path_parameters.values()  # this run accepts no more events
    in_order = not isinstance(case.body, list)  # else an event may follow a terminal one
    not_external = not (case.operation.label == "POST /runs" and case.body is NOT_SET)  # else it is external
    headers = case.headers or {}
    has_key = "Idempotency-Key" in headers  # which may be that of another request
    of_body = "Mcp-Protocol-Version" in headers  # a body of the latest version has what others do not need
    return not over and in_order and not_external and not has_key and not of_body
