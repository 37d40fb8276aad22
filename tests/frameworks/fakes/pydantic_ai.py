"""Pydantic AI's `FunctionModel`, which streams what a function yields."""

from collections.abc import AsyncIterator

from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai_agent import agent, answer

from tests.frameworks.fakes import FOREVER, REASONING, TEXT, endless

__all__ = ["answer"]


async def respond(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[object]:
    last = messages[-1].parts[-1]
    if last.content == FOREVER:
        async for word in endless():
            yield word
    elif isinstance(last, ToolReturnPart):
        for text in TEXT:
            yield text
    else:
        for text in REASONING:
            yield {0: DeltaThinkingPart(content=text)}
        yield {1: DeltaToolCall("weather", '{"city": ', tool_call_id="call-1")}
        yield {1: DeltaToolCall(json_args='"Rome"}')}


agent.model = FunctionModel(stream_function=respond, model_name="fake")
