"""AG-UI's `HttpAgent` in Node.js, and an agent that it talks to."""

from typing import Any

from dockrion import StreamContext
from tests.interop.sdks import SDK
from tests.protocols.ag_ui.verifier import verify
from tests.support import Served

EXPOSE = {"protocols": ["ag-ui"]}
SCRIPT = "ag_ui.mjs"


def url(served: Served, path: str = "/ag-ui") -> str:
    return f"http://127.0.0.1:{served.port}{path}"


async def run(sdk: SDK, name: str, message: str | None = "Hello", **options: Any) -> dict[str, Any]:
    """Run an agent of the SDK, and check every event it got."""
    seen = dict(await sdk("run", name=name, message=message, **options))
    verify(seen["events"], ended=False)
    return seen


def kinds(seen: dict[str, Any]) -> list[str]:
    return [event["type"] for event in seen["events"]]


class Researcher:
    """Answers with a reasoning, a tool, what it has found, and all kinds of events."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        self.payloads.append(payload)
        await context.emit_reasoning("I look ", message_id="m1")
        await context.emit_reasoning("it up.", message_id="m1")
        await context.emit_token("Let me see.", message_id="m1")
        await context.emit_tool_call("search", {"query": "weather"}, "c1", message_id="m1")
        await context.emit_tool_result("c1", result={"degrees": 21})
        await context.emit_step("searching")
        await context.emit_progress("searching", 0.5)
        await context.checkpoint("found", {"degrees": 21})
        await context.emit("values", degrees=21)
        await context.emit("mood", {"happy": True})
        await context.emit_token("It is ", message_id="m2")
        await context.emit_token("warm.", message_id="m2", finish_reason="stop")
        await context.emit_message("It is warm.", message_id="m2")
        await context.emit_usage("small", input_tokens=10, output_tokens=5)
        await context.emit_usage("small", input_tokens=20, output_tokens=7)
        return {"answer": "not shown"}
