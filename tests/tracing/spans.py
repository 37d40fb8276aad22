"""What tests of traces share: requests within a trace, and parts of spans."""

from typing import Any

from tests.support import Served
from tests.tracing.receiver import Collector, Span

INVOKE = "invoke_agent tested"
TRACE_ID, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{CALLER}-01", "tracestate": "vendor=position"}
UNSAMPLED = {"traceparent": f"00-{TRACE_ID}-{CALLER}-00"}


def tracing(collector: Collector, **fields: Any) -> dict[str, Any]:
    """Return the section `observability` of a service that sends its spans to a collector."""
    return {"tracing": {"endpoint": collector.url, **fields}}


async def start(served: Served, payload: Any = None, headers: dict[str, str] = SAMPLED, **query: str) -> str:
    """Start a run within a trace, and return its id."""
    async with served.client.post("/runs", json=payload or {}, headers=headers, params=query) as response:
        assert response.status == 202, await response.text()
        return str((await response.json())["run_id"])


async def invoke(served: Served, payload: Any = None, headers: dict[str, str] = SAMPLED) -> int:
    """Invoke the agent within a trace, and return the status."""
    async with served.client.post("/invoke", json=payload or {}, headers=headers) as response:
        await response.read()
        return response.status


def event_names(span: Span) -> list[str]:
    return [event.name.removeprefix("dockrion.") for event in span.events]


def parents(collector: Collector) -> dict[str, str]:
    """Return the name of each span's parent by its name, empty for one that is not there."""
    names = {span.span_id: span.name for span in collector.spans}
    return {span.name: names.get(span.parent_id, "") for span in collector.spans}
