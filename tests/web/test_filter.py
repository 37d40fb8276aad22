"""The event filter, which is applied before events are numbered."""

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import data, sequences

pytestmark = pytest.mark.usefixtures("every_backend")

CONFIGURABLE = ["progress", "token", "step", "checkpoint", "heartbeat"]
CUSTOM = ["custom:mine", "custom:other"]


async def everything(_payload: object, context: StreamContext) -> None:
    for _ in range(2):
        await context.emit_progress("work", 0.5)
        await context.emit_token("text")
        await context.emit_step("node")
        await context.checkpoint("half", {"n": 1})
        await context.emit_heartbeat()
        await context.emit("mine", n=1)
        await context.emit("custom:other", {"n": 2})


@pytest.mark.parametrize(
    ("allowed", "passing"),
    [
        ("minimal", []),
        ([], []),
        ("chat", ["token"]),
        ("debug", CONFIGURABLE),
        ("all", [*CONFIGURABLE, *CUSTOM]),
        (None, [*CONFIGURABLE, *CUSTOM]),
        (["token", "checkpoint"], ["token", "checkpoint"]),
        (["custom"], CUSTOM),
        (["custom:other", "started"], ["custom:other"]),
        (["complete", "error", "cancelled"], []),
    ],
)
@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_only_allowed_events_pass_and_are_numbered(
    serve: Serve, allowed: object, passing: list[str], pattern: str
) -> None:
    served = await serve(everything, streaming={"events": {"allowed": allowed}})
    if pattern == "A":
        async with served.stream() as reader:
            messages = await reader.all()
            run_id = reader.run_id
    else:
        run_id = await served.start()
        async with served.events(run_id) as reader:
            messages = await reader.all()
    ordered = [event for event in [*CONFIGURABLE, *CUSTOM] if event in passing]
    assert [message.event for message in messages] == ["started", *ordered * 2, "complete"]
    assert sequences(messages) == list(range(1, 2 * len(passing) + 3))
    assert (await served.record(run_id))["last_sequence"] == len(messages)


async def test_fields_of_every_type(serve: Serve) -> None:
    served = await serve(everything)
    async with served.stream() as reader:
        messages = [data(message) for message in await reader.all()]
    common = {"id", "type", "run_id", "sequence", "timestamp"}
    own = {message["type"]: message.keys() - common for message in messages}
    assert all(common <= message.keys() for message in messages)
    assert own == {
        "started": {"agent_name", "framework"},
        "progress": {"step", "progress", "message"},
        "token": {"content", "finish_reason"},
        "step": {"node_name", "duration_ms", "input_keys", "output_keys"},
        "checkpoint": {"name", "data"},
        "heartbeat": set(),
        "custom:mine": {"n"},
        "custom:other": {"n"},
        "complete": {"output", "latency_seconds", "metadata"},
    }
    assert len({message["id"] for message in messages}) == len(messages)
