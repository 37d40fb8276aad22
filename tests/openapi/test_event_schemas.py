"""Encoded events and control frames match their schemas; the AsyncAPI document refers to them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion import events
from dockrion.events import CONFIGURABLE, MANDATORY, PRESETS, Event, EventFilter, control_frames
from dockrion.openapi.schemas import event_schemas
from dockrion.wire import ndjson, sse
from tests.openapi.services import SERVICES, references, resolved, service, streams

every_service = pytest.mark.parametrize("name", SERVICES)
CONTROL_FRAMES = (
    control_frames.Gap(1, 5),
    control_frames.Timeout("over"),
    control_frames.AuthExpired(),
    control_frames.Gone(),
    control_frames.Draining(),
)
KINDS = MANDATORY | CONFIGURABLE
COMPONENTS = {"components": {"schemas": event_schemas(EventFilter())}}
STREAMS = {"GET /runs/{run_id}/events", "POST /invoke/stream", "GET /runs/{run_id}/ws", "GET /invoke/ws"}


def validator(name: str) -> Any:
    whole = COMPONENTS | {"$ref": f"#/components/schemas/{name}"}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


VALIDATORS = {name: validator(name) for name in COMPONENTS["components"]["schemas"]}


def own_fields(kind: type[Event]) -> dict[str, Any]:
    fields = msgspec.structs.fields(kind)
    return {each.name: each.type for each in fields if each.name not in events.COMMON_FIELDS}


def unset_by_default(kind: type[Event]) -> set[str]:
    return {each.name for each in msgspec.structs.fields(kind) if each.default is msgspec.UNSET}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
values: dict[str, st.SearchStrategy[Any]] = {
    "progress": st.floats(0, 1),
    "latency_seconds": st.floats(0, 1e9),
    "duration_ms": st.none() | st.floats(0, 1e9),
    "metadata": st.dictionaries(st.text(max_size=5), json_values, max_size=3),
    "input_keys": st.lists(st.text(max_size=5), max_size=3),
    "output_keys": st.lists(st.text(max_size=5), max_size=3),
    "output": json_values,
    "details": json_values,
    "code": st.from_regex(events.ERROR_CODE, fullmatch=True),
    "data": json_values,
    "message": st.none() | st.text(max_size=9),
    "reason": st.none() | st.text(max_size=9),
    "finish_reason": st.none() | st.text(max_size=9),
    "is_error": st.booleans(),
    "input_tokens": st.none() | st.integers(0, 2**53),
    "output_tokens": st.none() | st.integers(0, 2**53),
    "total_tokens": st.none() | st.integers(0, 2**53),
    "schema": st.none() | st.dictionaries(st.text(max_size=5), json_values, max_size=3),
    "expires_at": st.none() | st.datetimes(timezones=st.just(UTC)),
    "arguments": json_values,
    "result": json_values,
    "value": json_values,
    "attempt": st.integers(2, 10),
    "previous": st.sampled_from(["worker_lost", "shutdown"]),
}
values_of_type: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "usage": {"details": st.none() | st.dictionaries(st.text(max_size=5), json_values, max_size=3)},
    "message": {
        "content": st.text(max_size=9) | st.lists(st.fixed_dictionaries({"type": st.text(max_size=5)}))
    },
}


@st.composite
def encoded(draw: st.DrawFn) -> tuple[str, Any]:
    """Draw an event's type and the encoded event, decoded."""
    name = draw(st.sampled_from(sorted(KINDS)))
    known = values | values_of_type.get(name, {})
    fields = {field: draw(known.get(field, st.text(max_size=9))) for field in own_fields(KINDS[name])}
    for optional in unset_by_default(KINDS[name]) & draw(
        st.sets(st.sampled_from(["message_id", "source", "value", "attempt", "previous"]))
    ):
        del fields[optional]
    data = events.encode(name, "run", draw(st.integers(1, 2**63 - 1)), datetime.now(UTC), fields)
    return name, msgspec.json.decode(data)


@given(encoded())
def test_an_event_matches_only_its_own_schema(drawn: tuple[str, Any]) -> None:
    name, event = drawn
    matching = {other for other in KINDS if VALIDATORS[KINDS[other].__name__].is_valid(event)}
    assert matching == {name}
    VALIDATORS["Event"].validate(event)


def test_custom_events_match_their_schema() -> None:
    event = events.encode("custom:mood", "run", 1, datetime.now(UTC), {"happy": True})
    VALIDATORS["Custom"].validate(msgspec.json.decode(event))
    VALIDATORS["Event"].validate(msgspec.json.decode(event))
    assert not VALIDATORS["Token"].is_valid(msgspec.json.decode(event))


def test_sse_control_frames_match_their_schemas() -> None:
    decoder = sse.Decoder()
    frames = b"".join(map(sse.encode_control, CONTROL_FRAMES)) + sse.keepalive(
        events.encode_heartbeat("run", 4, "beat")
    )
    named = {"gap": "Gap", "heartbeat": "Heartbeat"}
    messages = decoder.feed(frames)
    assert len(messages) == len(CONTROL_FRAMES)  # draining is a comment in SSE
    for message in messages:
        VALIDATORS[named.get(message.event, "Notice")].validate(msgspec.json.decode(message.data))


def test_ndjson_control_frames_match_their_schema() -> None:
    lines = b"".join(map(ndjson.encode_control, CONTROL_FRAMES)) + ndjson.keepalive(None)
    for line in lines.splitlines():
        VALIDATORS["Control"].validate(msgspec.json.decode(line))


@pytest.mark.parametrize("allowed", [*PRESETS, "custom", "custom:mood"])
def test_only_events_that_the_filter_passes_are_described(allowed: str) -> None:
    passing = EventFilter(allowed if allowed in PRESETS else [allowed])
    found = event_schemas(passing)
    described = {each["$ref"].rpartition("/")[2] for each in found["Event"]["oneOf"]}
    expected = {kind.__name__ for name, kind in KINDS.items() if passing.allows(name)}
    assert described - {"Custom"} == expected
    assert ("Custom" in described) == passing.allows("custom:mood")


@every_service
def test_the_document_is_asyncapi_3(name: str, tmp_path: Path) -> None:
    dockfile = service(tmp_path, name)
    document = streams(dockfile)
    assert document["asyncapi"] == "3.0.0"
    assert document["info"].keys() >= {"title", "version"}
    for reference in set(references(document)):
        assert isinstance(resolved(document, reference), dict)
    actions = {f"{each['action']}_{each['channel']['$ref'][11:]}" for each in document["operations"].values()}
    assert actions == document["operations"].keys()
    served = {channel["title"] for channel in document["channels"].values()}
    assert served == set() if dockfile.expose.streaming == "none" else served <= STREAMS
    assert {f"send_{channel}" for channel in document["channels"]} <= document["operations"].keys()
    for channel in document["channels"].values():
        in_address = {part.strip("{}") for part in channel["address"].split("/") if part.startswith("{")}
        assert channel.get("parameters", {}).keys() == in_address
    for scheme in document["components"].get("securitySchemes", {}).values():
        assert scheme["type"] in ("http", "httpApiKey")


def test_message_payloads_refer_to_event_schemas(tmp_path: Path) -> None:
    document = streams(service(tmp_path, "chat"))
    messages = document["components"]["messages"]
    frames = {f"{name}Frame" for name in ("gap", "timeout", "auth_expired", "gone", "heartbeat")}
    assert messages.keys() == {"Started", "Complete", "Error", "Cancelled", "Token"} | frames
    assert messages["Token"]["payload"] == {"$ref": "#/components/schemas/Token"}
    assert document["channels"]["runEvents"]["messages"].keys() == messages.keys()
