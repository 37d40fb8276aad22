"""Chat completions and responses, as OpenAI's SDK for JavaScript gets them."""

import asyncio
import json
from pathlib import Path
from typing import Any

from dockrion import StreamContext
from tests.conftest import Serve
from tests.interop import node
from tests.support import wait_until
from tests.web.credentials import api_keys, key_of
from tests.web.policy_agents import SECRET, safety


class Agent:
    """Does what it is asked to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.stopped = 0

    async def __call__(self, payload: Any, context: StreamContext) -> str:
        question = payload["messages"][-1]["content"]
        self.asked.append(question)
        await context.emit_reasoning("Hm")
        await context.emit_token("It ")
        if question == "fail":
            raise ValueError("no forecast")
        if question == "leak":
            await context.emit_token(SECRET)
        if question != "forecast":
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped += 1
        await context.emit_token("rains.")
        await context.emit_usage("small", input_tokens=7, output_tokens=5)
        return "unused"


async def test_sdk_for_javascript(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as auth:
        sections = auth.sections(tmp_path, rate_limits={"worker": "1/h"})
    served = await serve(
        agent := Agent(),
        expose={"protocols": ["openai"]},
        limits={"max_body_bytes": 5000},
        policies=safety(halt_on_violation=True),
        **sections,
    )
    url = f"http://127.0.0.1:{served.port}/v1"
    asked = {"messages": [{"role": "user", "content": "forecast"}]}
    async with served.client.post("/invoke", json=asked, headers=auth.key("worker")) as response:
        assert response.status == 200
    got = json.loads(await node.output("openai_chat.mjs", url, key_of("owner"), key_of("worker")))
    responses = got.pop("responses")
    failed = {"class": "APIError", "code": "agent_execution_error"}
    assert got == {
        "models": ["tested"],
        "whole": "It rains.",
        "streamed": {"text": "It rains.", "reasoning": "Hm", "finish": "stop", "usage": 12, "error": None},
        "accumulated": "It rains.",
        "failed": {"text": "It ", "reasoning": "Hm", "finish": None, "usage": None, "error": failed},
        "failedWhole": {"class": "InternalServerError", "status": 500, "code": "agent_execution_error"},
        "violated": {
            "text": "It ",
            "reasoning": "Hm",
            "finish": "content_filter",
            "usage": None,
            "error": None,
        },
        "invalid": {"class": "BadRequestError", "status": 400, "code": "invalid_request"},
        "tooLarge": {"class": "APIError", "status": 413, "code": "payload_too_large"},
        "wrongKey": {"class": "AuthenticationError", "status": 401, "code": "invalid_api_key"},
        "limited": {"class": "RateLimitError", "status": 429, "code": "rate_limit_exceeded"},
        "cancelled": True,
    }
    _check_responses(responses)
    assert agent.asked.count("fail") == 3
    # in either API: the violation, and the closed connection or the cancel
    await wait_until(lambda: agent.stopped == 4)


def _check_responses(got: dict[str, Any]) -> None:
    ended = {"text": "It ", "reasoning": "Hm", "reason": None, "error": None}
    assert got == {
        "whole": {"text": "It rains.", "types": ["reasoning", "message"], "usage": 12},
        "streamed": ended
        | {"text": "It rains.", "numbers": 16, "last": "response.completed", "status": "completed"},
        "accumulated": "It rains.",
        "failed": ended
        | {"numbers": 15, "last": "response.failed", "status": "failed", "error": "server_error"},
        "violated": ended
        | {"numbers": 15, "last": "response.incomplete", "status": "incomplete", "reason": "content_filter"},
        "resumed": {"inOrder": True, "text": "It rains.", "fromTheHelper": "It rains."},
        "cancelled": "cancelled",
        "invalid": {"class": "BadRequestError", "status": 400, "code": "invalid_request"},
        "unknown": {"class": "NotFoundError", "status": 404, "code": "not_found"},
    }
