"""The real SDK of OpenAI for Python, as the client of a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from dockrion import StreamContext
from tests.support import Served

SERVED = {"protocols": ["openai"]}
ASKED: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "Rain?"}]}


@asynccontextmanager
async def sdk(served: Served, api_key: str = "none", **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """Make the SDK's client, which does not try again unless it is told to."""
    async with (
        openai.DefaultAsyncHttpxClient(trust_env=False) as http,
        openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{served.port}/v1",
            api_key=api_key,
            http_client=http,
            **{"max_retries": 0, **options},
        ) as client,
    ):
        yield client


async def forecast(payload: Any, context: StreamContext) -> Any:
    """Reason, call a tool, and tell what it says."""
    await context.emit_reasoning("A tool ")
    await context.emit_reasoning("knows.")
    await context.emit_token("Let me look.", message_id="m1")
    await context.emit_tool_call("weather", {"city": "Oslo"}, "c1", message_id="m1")
    await context.emit_tool_result("c1", "rain", name="weather")
    for word in ("It ", "rains", "."):
        await context.emit_token(word, message_id="m2")
    await context.emit_usage("small", input_tokens=7, output_tokens=5)
    return payload


def error_of(error: pytest.ExceptionInfo[openai.APIError]) -> tuple[int | None, str | None, str | None]:
    """Return the status, the type and the code of an error as the SDK shows them."""
    return getattr(error.value, "status_code", None), error.value.type, error.value.code
