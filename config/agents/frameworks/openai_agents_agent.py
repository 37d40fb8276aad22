import json
import os
from typing import Any

from agents import Agent, RawResponsesStreamEvent, RunItemStreamEvent, Runner, function_tool
from openai.types import responses as openai

from dockrion import StreamContext


@function_tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


agent = Agent("forecaster", model=os.environ.get("MODEL", "gpt-6-luna"), tools=[weather])


async def answer(payload: dict[str, Any], context: StreamContext) -> str:
    result = Runner.run_streamed(agent, payload["question"])
    try:
        async for event in result.stream_events():
            match event:
                case RawResponsesStreamEvent(data=openai.ResponseTextDeltaEvent(delta=text)):
                    await context.emit_token(text)
                case RawResponsesStreamEvent(data=openai.ResponseReasoningSummaryTextDeltaEvent(delta=text)):
                    await context.emit_reasoning(text)
                case RawResponsesStreamEvent(data=openai.ResponseCompletedEvent(response=response)):
                    usage = response.usage
                    await context.emit_usage(response.model, usage.input_tokens, usage.output_tokens)
                case RunItemStreamEvent(name="tool_called", item=call):
                    arguments = json.loads(call.raw_item.arguments)
                    await context.emit_tool_call(call.tool_name, arguments, call.call_id)
                case RunItemStreamEvent(name="tool_output", item=item):
                    await context.emit_tool_result(item.call_id, item.output)
    finally:
        result.cancel()  # the model and the tools run in tasks of their own
    return result.final_output
