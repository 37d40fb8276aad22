"""A chat generator for Haystack: a component that streams through the callback it is given."""

import json
from typing import Any

from haystack import component
from haystack.dataclasses import (
    ChatMessage,
    ReasoningContent,
    StreamingChunk,
    ToolCall,
    ToolCallDelta,
)
from haystack_agent import agent, answer

from tests.frameworks.fakes import FOREVER, REASONING, TEXT, endless

__all__ = ["answer"]

META = {"model": "fake", "usage": {"input_tokens": 50, "output_tokens": 5}}
ARGUMENTS = {"city": "Rome"}


@component
class FakeGenerator:
    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], tools: Any = None, streaming_callback: Any = None) -> Any:
        raise NotImplementedError

    @component.output_types(replies=list[ChatMessage])
    async def run_async(
        self, messages: list[ChatMessage], tools: Any = None, streaming_callback: Any = None
    ) -> Any:
        if messages[-1].text == FOREVER:
            async for word in endless():
                await streaming_callback(StreamingChunk(word))
        if messages[-1].tool_call_results:
            for text in TEXT:
                await streaming_callback(StreamingChunk(text))
            return {"replies": [ChatMessage.from_assistant("".join(TEXT), meta=META)]}
        for text in REASONING:
            await streaming_callback(StreamingChunk("", index=0, reasoning=ReasoningContent(text)))
        delta = ToolCallDelta(index=1, tool_name="weather", arguments=json.dumps(ARGUMENTS), id="call-1")
        await streaming_callback(StreamingChunk("", index=1, tool_calls=[delta]))
        call = ToolCall("weather", ARGUMENTS, "call-1")
        return {"replies": [ChatMessage.from_assistant(tool_calls=[call], meta=META)]}


agent.chat_generator = FakeGenerator()
