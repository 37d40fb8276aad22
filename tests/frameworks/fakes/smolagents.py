"""A `Model` for smolagents, which streams its thoughts and the calls of its tools."""

import json
import time
from collections.abc import Iterator
from typing import Any

import smolagents_agent
from smolagents import models

from tests.frameworks.fakes import FOREVER, REASONING, STOPPED, TEXT

answer = smolagents_agent.answer


class FakeModel(models.Model):
    def generate_stream(self, messages: list[Any], **_: Any) -> Iterator[models.ChatMessageStreamDelta]:
        if FOREVER in str(messages[-1].content):
            yield from _endless()
        if messages[-1].role == models.MessageRole.TOOL_RESPONSE:
            yield _call("final_answer", {"answer": "".join(TEXT)})
        else:
            for text in REASONING:
                yield models.ChatMessageStreamDelta(text)
            yield _call("weather", {"city": "Rome"})
        yield models.ChatMessageStreamDelta(token_usage=models.TokenUsage(50, 5))


def _call(name: str, arguments: dict[str, str]) -> models.ChatMessageStreamDelta:
    function = models.ChatMessageToolCallFunction(json.dumps(arguments), name)
    return models.ChatMessageStreamDelta(
        tool_calls=[models.ChatMessageToolCallStreamDelta(0, "call-1", "function", function)]
    )


def _endless() -> Iterator[models.ChatMessageStreamDelta]:
    try:
        while True:
            yield models.ChatMessageStreamDelta("on and ")
            time.sleep(0.01)
    finally:
        print(STOPPED)


smolagents_agent.model = FakeModel(model_id="fake")
