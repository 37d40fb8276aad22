"""The agent: a function that Dockrion calls with the conversation. Change it, save, and ask again."""

import asyncio

from dockrion import StreamContext


async def reply(payload: dict, context: StreamContext) -> dict:
    messages = payload["messages"]  # of {"role", "content"}, the oldest first
    questions = [each["content"] for each in messages if each["role"] == "user"]

    answer = await ask_model(questions, context)

    # What it returns is the output of the run.
    return {"role": "assistant", "content": answer}


async def ask_model(questions: list[str], context: StreamContext) -> str:
    """Stand in for a model, which needs no key: call yours here, and emit each text that it streams."""
    answer = f"This is answer {len(questions)}. You wrote **{questions[-1]}**." if questions else "Ask me!"
    for word in answer.split():
        await context.emit_token(f"{word} ")
        await asyncio.sleep(0.05)
    return answer
