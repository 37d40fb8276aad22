"""The real SDK of OpenAI for Python, as the client of a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

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


def error_of(error: pytest.ExceptionInfo[openai.APIError]) -> tuple[int | None, str | None, str | None]:
    """Return the status, the type and the code of an error as the SDK shows them."""
    return getattr(error.value, "status_code", None), error.value.type, error.value.code
