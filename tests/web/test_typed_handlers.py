"""Handlers with types: payloads arrive as these, and refusals and descriptions follow from them."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import Serve
from tests.support import Served, data
from tests.web.helpers import error_of, shows_no_inside
from tests.web.transports.readers import STREAMS, WEBSOCKET, all_of, invoking
from tests.web.typed_service import agent, invoked

STARTING = ["/invoke", "/invoke/stream", "/runs"]
NOON = "2026-11-29T12:00:00Z"
MISMATCH = "the body does not match io_schema.input"


async def refused(served: Served, payload: Any, path: str = "/invoke") -> list[dict[str, Any]]:
    """Return the details of the refusal of a payload."""
    async with served.client.post(path, json=payload) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert body["error"] == MISMATCH
    return list(body["details"])


@pytest.mark.parametrize(
    ("name", "payload", "output"),
    [
        ("answer", {"text": "hi", "related": [{"text": "ho"}]}, {"text": "hi None ['ho']"}),
        ("answer_in_thread", {"text": "hi"}, {"text": "hi"}),
        ("point", {"x": 1}, {"type": "Point", "x": 1, "y": 0}),
        ("options", {"depth": 2, "style": "long"}, "2 long"),
        ("order", {"itemName": "tea"}, {"item_name": "tea", "due": None, "price": None}),
        ("shape", {"center": {"x": 1}, "radius": 1.5}, "Circle"),
        ("text", "four", 4),
        ("decorated", {"x": 3}, {"text": "3"}),
        ("partial", {"x": 3}, {"text": ">3"}),
        ("instance", {"x": 3}, {"text": "3"}),
        ("words", "a b", "ab"),
    ],
)
async def test_payload_arrives_as_its_type(serve: Serve, name: str, payload: Any, output: Any) -> None:
    served = await serve(agent=agent(name))
    assert await invoked(served, payload) == output


@pytest.mark.usefixtures("every_backend")
async def test_payload_of_a_run_arrives_as_its_type(serve: Serve) -> None:
    served = await serve(agent=agent("answer"))
    run_id = await served.start({"text": "hi", "since": NOON})
    async with served.events(run_id) as reader:
        events = [data(message) for message in await reader.all()]
    assert [each["type"] for each in events] == ["started", "token", "complete"]
    assert events[1]["content"] == "Question"
    assert events[2]["output"]["text"].startswith("hi datetime.datetime(2026, 11, 29, 12, 0")
    assert "output_errors" not in events[2]["metadata"]


@pytest.mark.parametrize("transport", STREAMS)
async def test_payload_of_a_stream_arrives_as_its_type(serve: Serve, transport: str) -> None:
    expose = WEBSOCKET if transport == "websocket" else {}
    served = await serve(agent=agent("answer"), expose=expose)
    async with invoking(served, transport, {"text": "hi"}) as stream:
        events = await all_of(stream)
    assert [each.type for each in events] == ["started", "token", "complete"]
    assert b'"content":"Question"' in events[1].data


async def test_entrypoint_may_have_typed_methods(serve: Serve) -> None:
    served = await serve(agent=agent("create", "entrypoint"))
    assert await invoked(served, {"text": "hi"}) == {"text": "hi"}
    async with served.stream({"text": "hi"}) as reader:
        events = [data(message) for message in await reader.all()]
    assert events[1]["content"] == "hi"
    assert events[-1]["output"] == {"text": "HI"}
    assert await refused(served, {}) == [{"path": "$", "message": '"text" is a required property'}]


@pytest.mark.parametrize("path", STARTING)
async def test_type_refuses_as_its_schema_in_the_dockfile_would(serve: Serve, path: str) -> None:
    declared = await serve(agent=agent("point"))
    written = await serve(io_schema={"input": declared.service.dockfile.io_schema.input})
    payloads: list[Any] = [{}, {"x": "1"}, {"x": 1, "y": "b"}, [], "text", {"x": 1.5, "y": []}]
    for wrong in payloads:
        details = await refused(declared, wrong, path)
        assert details
        assert details == await refused(written, wrong, path)


@pytest.mark.parametrize("path", STARTING)
async def test_conversion_refuses_with_every_violation(serve: Serve, path: str) -> None:
    served = await serve(agent=agent("answer"))
    related = [{"text": "a", "since": "never"}, {"text": "b"}]
    assert await refused(served, {"text": "hi", "since": "noon", "related": related}, path) == [
        {"path": "$.since", "message": "Invalid RFC3339 encoded datetime"},
        {"path": "$.related[0].since", "message": "Invalid RFC3339 encoded datetime"},
    ]


async def test_conversion_refuses_the_first_message_of_a_websocket(serve: Serve) -> None:
    served = await serve(agent=agent("answer"), expose=WEBSOCKET)
    async with served.client.ws_connect("/invoke/ws") as socket:
        await socket.send_json({"text": "hi", "since": "noon"})
        body = await socket.receive_json()
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    assert (body["type"], body["code"], body["error"]) == ("refused", "VALIDATION_ERROR", MISMATCH)
    assert [each["path"] for each in body["details"]] == ["$.since"]
    assert socket.close_code == 4400


async def test_refused_payload_starts_no_run(serve: Serve) -> None:
    served = await serve(agent=agent("answer"))
    await refused(served, {"text": "hi", "since": "noon"}, "/runs?run_id=refused")
    async with served.client.get("/runs/refused") as response:
        await error_of(response, 404, "NOT_FOUND")


async def test_validators_of_the_type_refuse_too(serve: Serve) -> None:
    served = await serve(agent=agent("order"))
    assert await refused(served, {"itemName": "nothing", "due": "noon"}) == [
        {"path": "$.itemName", "message": "Value error, must be something"},
        {"path": "$.due", "message": "Input should be a valid datetime or date, input is too short"},
    ]


async def test_refusals_by_the_agents_code_show_no_inside(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET=unlucky\n")
    served = await serve(agent=agent("point"), secrets={"required": [{"name": "SECRET"}]})
    assert await refused(served, {"x": 13, "y": 13}) == [{"path": "$", "message": "13 is ***, see <path>"}]


@pytest.mark.parametrize("path", STARTING)
@pytest.mark.parametrize(
    ("name", "payload", "message"),
    [
        ("point", {"x": 66}, "KeyError: <path>"),
        ("order", {"itemName": "broken"}, "RuntimeError: the catalogue <path> is gone"),
    ],
)
async def test_failure_of_a_validator_is_a_failure_of_the_agent(
    serve: Serve, path: str, name: str, payload: Any, message: str
) -> None:
    served = await serve(agent=agent(name))
    async with served.client.post(path, json=payload) as response:
        body = await error_of(response, 500, "AGENT_EXECUTION_ERROR")
    assert body["error"] == message
    assert body["details"] == {"type": message.partition(":")[0]}
    assert shows_no_inside(body["error"].replace("<path>", ""))


@pytest.mark.parametrize("size", [1, 200_000])  # converted on the event loop, and beside it
@pytest.mark.parametrize(
    "kind", ["KeyboardInterrupt", "CancelledError", "GeneratorExit", "BaseExceptionGroup"]
)
async def test_nothing_that_a_validator_raises_ends_the_service_or_the_connection(
    serve: Serve, kind: str, size: int
) -> None:
    served = await serve(agent=agent("raising"))
    async with served.client.post("/invoke", json={"what": kind + " " * size}) as response:
        body = await error_of(response, 500, "AGENT_EXECUTION_ERROR")
    assert body["details"] == {"type": kind}
    assert await invoked(served, {"what": "nothing"}) == "nothing"


async def test_long_messages_of_validators_are_cut(serve: Serve) -> None:
    served = await serve(agent=agent("point"))
    [violation] = await refused(served, {"x": 99})
    assert violation["message"] == "no" * 150


async def test_large_payloads_are_converted_beside_the_event_loop(serve: Serve) -> None:
    served = await serve(agent=agent("thread"))
    assert await invoked(served, {"text": "small"}) == "MainThread"
    assert await invoked(served, {"text": "a" * 200_000}) == "dockrion-payload"


STRICTER = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 5}}, "required": ["x"]}


async def test_payload_matches_the_schema_of_the_dockfile_and_then_the_type(serve: Serve) -> None:
    served = await serve(agent=agent("point"), io_schema={"input": STRICTER})
    assert await invoked(served, {"x": 5}) == {"type": "Point", "x": 5, "y": 0}
    assert await refused(served, {"x": 4}) == [{"path": "$.x", "message": "4 is less than the minimum of 5"}]
    assert await refused(served, {"x": 5, "y": "1"}) == [
        {"path": "$.y", "message": "Expected `int`, got `str`"}
    ]
    async with served.client.get("/schema") as response:
        assert (await response.json())["input_schema"] == STRICTER


async def test_output_is_validated_against_its_type(serve: Serve) -> None:
    served = await serve(agent=agent("unlike_its_type"))
    async with served.client.post("/invoke", json={"x": 1}) as response:
        metadata = (await response.json())["metadata"]
    errors = [{"path": "$.text", "message": '1 is not of type "string"'}]
    assert metadata["output_errors"] == errors
    record = await served.finished(await served.start({"x": 1}))
    assert record["metadata"]["output_errors"] == errors


async def test_output_is_not_validated_unless_strict(serve: Serve) -> None:
    served = await serve(agent=agent("unlike_its_type"), io_schema={"strict": False})
    async with served.client.post("/invoke", json={"x": 1}) as response:
        assert "output_errors" not in (await response.json())["metadata"]
    async with served.client.get("/schema") as response:
        assert (await response.json())["output_schema"]["title"] == "Answer"


@pytest.mark.parametrize("name", ["any_object", "words"])
async def test_untyped_output_has_no_schema(serve: Serve, name: str) -> None:
    served = await serve(agent=agent(name))
    assert served.service.runs._recorder.output_schema is None


async def test_untyped_handler_costs_nothing(serve: Serve) -> None:
    served = await serve(agent=agent("any_object"))
    assert served.service.payload_type is None
    assert served.service.input_schema is None
    assert await invoked(served, {"any": [1]}) == {"any": [1]}
