"""An engine of DSPy's own, which streams the fields that `ReAct` asks for."""

import re
from collections.abc import AsyncIterator
from typing import Any

import dspy
from dspy.lm15 import Request, StreamDeltaEvent, StreamEndEvent, StreamStartEvent, TextDelta, Usage
from dspy_agent import answer

from tests.frameworks.fakes import FOREVER, REASONING, TEXT, endless

__all__ = ["answer"]


class Unused:
    def complete(self, request: Request) -> Any:
        raise NotImplementedError


class FakeEngine:
    async def complete(self, request: Request) -> Any:
        raise NotImplementedError

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        prompt = request.messages[-1].text
        yield StreamStartEvent(id=None, model="fake")
        if FOREVER in prompt:
            yield _delta("[[ ## next_thought ## ]]\n")
            async for word in endless():
                yield _delta(word)
        for word in re.findall(r"\s*\S+", _fields(prompt)):
            yield _delta(word)
        yield StreamEndEvent(
            finish_reason="stop", usage=Usage(input_tokens=50, output_tokens=5, total_tokens=55)
        )


def _fields(prompt: str) -> str:
    if "next_thought" not in prompt:
        fields = {"reasoning": "", "answer": "".join(TEXT)}
    elif "observation_0" in prompt:
        fields = {"next_thought": "", "next_tool_name": "finish", "next_tool_args": "{}"}
    else:
        thought = "".join(REASONING)
        fields = {"next_thought": thought, "next_tool_name": "weather", "next_tool_args": '{"city": "Rome"}'}
    return (
        "".join(f"[[ ## {name} ## ]]\n{text}\n\n" for name, text in fields.items()) + "[[ ## completed ## ]]"
    )


def _delta(text: str) -> StreamDeltaEvent:
    return StreamDeltaEvent(delta=TextDelta(text=text, part_index=0))


dspy.configure(lm=dspy.LM("fake", engine=Unused(), async_engine=FakeEngine(), cache=False))
