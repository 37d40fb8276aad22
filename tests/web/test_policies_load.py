"""Masking large texts does not block other requests, and without policies it costs nothing."""

import asyncio
import threading
from typing import Any

import pytest

from dockrion.policies.patterns import MASK
from dockrion.runs import outcome_redaction
from tests.conftest import Serve
from tests.support import INGEST, Served, wait_until
from tests.web.policy_agents import SECRET, safety, taking_long

LARGE = "secret " * 80_000


def masking() -> bool:
    return any(thread.name.startswith("dockrion-mask-") for thread in threading.enumerate())


def mask_a_large_text(served: Served) -> None:
    policy = served.service.runs._settings.output_policy
    assert policy is not None
    policy.new_filter().mask(LARGE)


@pytest.mark.parametrize("path", ["/invoke", "/runs"])
async def test_masking_a_large_output_does_not_block_other_requests(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    served = await serve(lambda _payload: [LARGE, SECRET], policies=safety())
    with taking_long(monkeypatch, outcome_redaction, "filtered", lambda: mask_a_large_text(served)):
        request = asyncio.create_task(served.client.post(path, json={}))
        await wait_until(masking)
        async with served.client.get("/health") as response:
            assert response.status == 200
        assert masking()
    async with await request as response:
        body = await response.json()
    if path == "/runs":
        body = await served.finished(body["run_id"])
    assert body["output"] == [LARGE, MASK]


async def test_masking_large_details_does_not_block_other_requests(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(policies=safety(), streaming={"ingest": INGEST})
    run_id = await served.start(external="true")
    end = {"type": "error", "error": "e", "details": [LARGE, SECRET]}
    with taking_long(monkeypatch, outcome_redaction, "filtered", lambda: mask_a_large_text(served)):
        async with served.client.post(f"/runs/{run_id}/events", json=end) as response:
            assert response.status == 200
        await wait_until(masking)
        assert (await served.record(run_id))["status"] == "running"
        assert masking()
    assert (await served.finished(run_id))["error"]["details"] == [LARGE, MASK]


@pytest.mark.parametrize("policies", [None, {}, {"safety": {}}, {"tools": {"deny_by_default": True}}])
async def test_without_policies_texts_are_not_processed(serve: Serve, policies: Any) -> None:
    served = await serve(policies=policies)
    assert served.service.runs._settings.output_policy is None
