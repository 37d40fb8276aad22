import os
from typing import Any

from pydantic_ai import Agent, messages

from dockrion import StreamContext


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


model = os.environ.get("MODEL", "openai:gpt-6-luna")
agent = Agent(model, tools=[weather], defer_model_check=True)


async def answer(payload: dict[str, Any], context: StreamContext) -> str:
    async with agent.run_stream_events(payload["question"]) as events:
        async for event in events:
            match event:
                case messages.PartStartEvent(part=messages.TextPart(content=text)) if text:
                    await context.emit_token(text)
                case messages.PartDeltaEvent(delta=messages.TextPartDelta(content_delta=text)) if text:
                    await context.emit_token(text)
                case messages.PartStartEvent(part=messages.ThinkingPart(content=text)) if text:
                    await context.emit_reasoning(text)
                case messages.PartDeltaEvent(delta=messages.ThinkingPartDelta(content_delta=text)) if text:
                    await context.emit_reasoning(text)
                case messages.ToolCallEvent(part=call):
                    await context.emit_tool_call(call.tool_name, call.args_as_dict(), call.tool_call_id)
                case messages.ToolResultEvent(part=part):
                    await context.emit_tool_result(part.tool_call_id, part.content, part.outcome != "success")
    usage = events.result.usage
    await context.emit_usage(events.result.response.model_name, usage.input_tokens, usage.output_tokens)
    return events.result.output
