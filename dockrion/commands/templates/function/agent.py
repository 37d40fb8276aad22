"""The agent: a function that Dockrion calls with each request. Change it, save, and ask again."""

import asyncio

from dockrion import StreamContext


async def greet(payload: dict, context: StreamContext) -> dict:
    name = payload.get("name", "World")

    # What the agent emits, callers see at once. There are more events: reasoning, tool calls, questions.
    await context.emit_progress("greet", 0.5, "thinking of a greeting")
    greeting = f"Hello {name}, what a pleasure to meet you!"
    for word in greeting.split():
        await context.emit_token(f"{word} ")
        await asyncio.sleep(0.05)  # an agent waits for its model here

    # What it returns is the output of the run.
    return {"greeting": greeting}
