import os
from typing import Any

import smolagents
from rich.console import Console
from smolagents import tool

from dockrion import StreamContext


@tool
def weather(city: str) -> str:
    """Return the weather in a city.

    Args:
        city: Its name.
    """
    return f"It rains in {city}."


model = smolagents.InferenceClientModel(os.environ.get("MODEL", "Qwen/Qwen3-Next-80B-A3B-Thinking"))
silent = smolagents.AgentLogger(console=Console(quiet=True))  # it prints every token otherwise


def answer(payload: dict[str, Any], context: StreamContext) -> str:
    agent = smolagents.ToolCallingAgent([weather], model, stream_outputs=True, logger=silent)
    calls = []
    for event in agent.run(payload["question"], stream=True):
        match event:
            case smolagents.ChatMessageStreamDelta(content=str(text)) if text:
                context.sync_emit_reasoning(text)
            case smolagents.ToolCall() if event.name != "final_answer":
                calls.append(context.sync_emit_tool_call(event.name, event.arguments, event.id))
            case smolagents.ToolOutput(is_final_answer=False):
                calls.remove(event.id)
                context.sync_emit_tool_result(event.id, event.output)
            case smolagents.ActionStep(error=error, token_usage=usage):
                while calls:  # they failed
                    context.sync_emit_tool_result(calls.pop(), str(error), is_error=True)
                if usage:
                    context.sync_emit_usage(model.model_id, usage.input_tokens, usage.output_tokens)
            case smolagents.FinalAnswerStep(output=output):
                context.sync_emit_token(str(output))
    return str(output)
