"""Everything that the guide, the alerts and the dashboard name is in `/metrics` of services that use it."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dockrion import StreamContext
from tests.conftest import Serve
from tests.exposition import declared_labels, with_everything
from tests.metrics.test_deploy import promtool
from tests.support import Served

HOOKS = [{"url": "http://127.0.0.1:1/", "secret_env": "TESTS_WEBHOOK_SECRET"}]
ADDED = {"le"}


async def talk(_payload: Any, context: StreamContext) -> str:
    await context.emit_token("hello")
    await context.emit_usage(model="small", input_tokens=3, output_tokens=1)
    return "hello"


async def exposed(served: Served) -> dict[str, set[str]]:
    """Return the labels of each metric that has a value, after some work; by its name in queries."""
    async with served.stream() as reader:
        await reader.all()
    await served.record(reader.run_id)
    async with served.client.get("/metrics") as response:
        text = await response.text()
    assert promtool("check", "metrics", stdin=text) == ""
    return {
        family.name + ("_total" if family.type == "counter" else ""): {*sample.labels} - ADDED
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.usefixtures("redis_backend")
async def test_services_expose_what_is_declared(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    on_redis = await exposed(await serve(talk, webhooks=HOOKS))
    monkeypatch.setattr("tests.support.SHARED_REDIS", {})
    in_memory = await exposed(await serve(talk))
    assert "dockrion_redis_state" not in in_memory
    assert "dockrion_stored_bytes" not in on_redis
    both = on_redis | in_memory
    assert both == {name: set(labels) for name, labels in declared_labels(with_everything()).items()}
