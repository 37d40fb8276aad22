import os
from typing import Any

from llama_index.core.agent import workflow
from llama_index.llms.openai import OpenAI

from dockrion import StreamContext


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


with_usage = {"stream_options": {"include_usage": True}}
llm = OpenAI(os.environ.get("MODEL", "gpt-5-mini"), additional_kwargs=with_usage)
agent = workflow.FunctionAgent(tools=[weather], llm=llm)


async def answer(payload: dict[str, Any], context: StreamContext) -> str:
    run = agent.run(payload["question"])
    try:
        async for event in run.stream_events():
            match event:
                case workflow.AgentStream(delta=text, thinking_delta=thought):
                    if thought:
                        await context.emit_reasoning(thought)
                    if text:
                        await context.emit_token(text)
                case workflow.ToolCall():
                    await context.emit_tool_call(event.tool_name, event.tool_kwargs, event.tool_id)
                case workflow.ToolCallResult(tool_output=output):
                    await context.emit_tool_result(event.tool_id, output.content, output.is_error)
                case workflow.AgentOutput(raw={"model": model, "usage": dict(usage)}):
                    await context.emit_usage(model, usage["prompt_tokens"], usage["completion_tokens"])
        return str(await run)
    finally:
        await run.cancel_run()  # the model and the tools run in tasks of their own
