"""The tracer provider: from the Dockfile and the standard variables."""

from opentelemetry import trace

from tests.conftest import Serve
from tests.tracing.receiver import Collector


async def test_spans_of_agents_reach_the_collector(serve: Serve, collector: Collector) -> None:
    def agent(payload: object) -> object:
        with trace.get_tracer("agent").start_as_current_span("look up"):
            return payload

    served = await serve(agent, observability={"tracing": {"endpoint": collector.url}})
    await served.finished(await served.start())
    span = await collector.span("look up")
    assert (span.scope, span.status) == ("agent", "unset")
    assert span.resource["service.name"] == "tested"
    assert collector.requests[0].path == "/v1/traces"
