"""The event filter, which is applied before events are numbered."""

import pytest

from tests.conftest import Serve
from tests.every_event import EVENTS, USAGE, emitting
from tests.support import data, sequences

pytestmark = pytest.mark.usefixtures("every_backend")

TYPES = [event["type"] for event in EVENTS]
CUSTOM = [name for name in TYPES if name.startswith("custom:")]
CONFIGURABLE = [name for name in TYPES if name not in CUSTOM]


@pytest.mark.parametrize(
    ("allowed", "passing"),
    [
        ("minimal", []),
        ([], []),
        ("chat", ["token"]),
        ("debug", CONFIGURABLE),
        ("all", TYPES),
        (None, TYPES),
        (["token", "checkpoint"], ["token", "checkpoint"]),
        (["reasoning", "tool_call", "tool_result"], ["reasoning", "tool_call", "tool_result"]),
        (["custom"], CUSTOM),
        (["custom:other", "started"], ["custom:other"]),
        (["complete", "error", "cancelled"], []),
    ],
)
@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_only_allowed_events_pass_and_are_numbered(
    serve: Serve, allowed: object, passing: list[str], pattern: str
) -> None:
    served = await serve(emitting, streaming={"events": {"allowed": allowed}})
    if pattern == "A":
        async with served.stream() as reader:
            messages = await reader.all()
            run_id = reader.run_id
    else:
        run_id = await served.start()
        async with served.events(run_id) as reader:
            messages = await reader.all()
    emitted = [name for name in TYPES if name in passing]
    assert [message.event for message in messages] == ["started", *emitted, "complete"]
    assert sequences(messages) == list(range(1, len(messages) + 1))
    record = await served.record(run_id)
    assert record["last_sequence"] == len(messages)
    assert record["metadata"]["usage"] == USAGE


async def test_fields_of_every_type(serve: Serve) -> None:
    served = await serve(emitting)
    async with served.stream() as reader:
        messages = [data(message) for message in await reader.all()]
    common = {"id", "type", "run_id", "sequence", "timestamp"}
    assert all(common <= message.keys() for message in messages)
    own = [message.keys() - common for message in messages]
    expected = [event.keys() - {"type"} for event in EVENTS]
    assert own == [{"agent_name", "framework"}, *expected, {"output", "latency_seconds", "metadata"}]
    assert len({message["id"] for message in messages}) == len(messages)
