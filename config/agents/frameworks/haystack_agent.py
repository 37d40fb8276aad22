import os
from typing import Any

from haystack.components.agents import Agent
from haystack.components.agents.state import State
from haystack.components.generators.chat import OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.hooks import hook
from haystack.tools import tool

from dockrion import StreamContext, get_current_context


@tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


@hook
async def report_calls(state: State) -> None:
    context = get_current_context()
    for call in state.data["messages"][-1].tool_calls:
        await context.emit_tool_call(call.tool_name, call.arguments, call.id)


summaries = {"reasoning": {"summary": "auto"}}
model = OpenAIResponsesChatGenerator(model=os.environ.get("MODEL", "gpt-5-mini"), generation_kwargs=summaries)
agent = Agent(chat_generator=model, tools=[weather], hooks={"before_tool": [report_calls]})


async def answer(payload: dict[str, Any], context: StreamContext) -> str:
    async def emit(chunk: StreamingChunk) -> None:
        if chunk.content:
            await context.emit_token(chunk.content)
        elif thought := chunk.reasoning and chunk.reasoning.reasoning_text:
            await context.emit_reasoning(thought)
        elif result := chunk.tool_call_result:
            await context.emit_tool_result(result.origin.id, result.result, result.error)

    question = ChatMessage.from_user(payload["question"])
    result = await agent.run_async([question], streaming_callback=emit)
    for message in result["messages"]:
        if usage := message.meta.get("usage"):
            await context.emit_usage(message.meta["model"], usage["input_tokens"], usage["output_tokens"])
    return result["last_message"].text
