"""LlamaIndex's `MockFunctionCallingLLM`, which also streams reasoning and usage, as OpenAI's models do."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llamaindex_agent import agent, answer

from tests.frameworks.fakes import FOREVER, REASONING, TEXT, endless

__all__ = ["answer"]


class FakeModel(MockFunctionCallingLLM):
    async def astream_chat(self, messages: Sequence[ChatMessage], **_: Any) -> AsyncIterator[ChatResponse]:
        return self._stream(messages[-1])

    async def _stream(self, last: ChatMessage) -> AsyncIterator[ChatResponse]:
        if last.content == FOREVER:
            async for text in endless():
                yield _said(text, text)
        elif last.role == MessageRole.TOOL:
            for number, text in enumerate(TEXT, start=1):
                yield _said("".join(TEXT[:number]), text)
        else:
            for text in REASONING:
                yield ChatResponse(message=ChatMessage(), additional_kwargs={"thinking_delta": text})
            call = ToolCallBlock(tool_call_id="call-1", tool_name="weather", tool_kwargs={"city": "Rome"})
            yield ChatResponse(message=ChatMessage(role="assistant", blocks=[call]), raw=_RAW)


_RAW = {"model": "fake", "usage": {"prompt_tokens": 50, "completion_tokens": 5}}


def _said(whole: str, delta: str) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role="assistant", content=whole), delta=delta, raw=_RAW)


agent.llm = FakeModel()
