import os
from contextlib import aclosing
from typing import Any

from google.adk.agents import Agent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.runners import InMemoryRunner
from google.genai.types import FunctionCall, FunctionResponse, Part, UserContent

from dockrion import StreamContext


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


agent = Agent(name="forecaster", model=os.environ.get("MODEL", "gemini-3.5-flash"), tools=[weather])
streaming = RunConfig(streaming_mode=StreamingMode.SSE)


async def answer(payload: dict[str, Any], context: StreamContext) -> str:
    runner = InMemoryRunner(agent)
    runner.auto_create_session = True
    message = UserContent(payload["question"])
    run = runner.run_async(user_id="caller", session_id="chat", new_message=message, run_config=streaming)
    async with aclosing(run) as events:
        async for event in events:
            if event.error_code:
                raise RuntimeError(event.error_message)
            for part in event.content.parts if event.content else []:
                match part:
                    case Part(text=str(text)) if event.partial:
                        await (context.emit_reasoning if part.thought else context.emit_token)(text)
                    case Part(function_call=FunctionCall() as call) if not event.partial:
                        await context.emit_tool_call(call.name, call.args, call.id)
                    case Part(function_response=FunctionResponse() as result):
                        await context.emit_tool_result(result.id, result.response)
            model, used = event.model_version, event.usage_metadata
            if used and not event.partial:
                await context.emit_usage(model, used.prompt_token_count, used.candidates_token_count)
    return "".join(part.text for part in event.content.parts if part.text and not part.thought)
