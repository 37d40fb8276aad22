import os
from contextlib import aclosing
from typing import Any

import dspy
from dspy.streaming import StreamListener, StreamResponse

import dockrion
from dockrion import StreamContext


@dockrion.tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


dspy.configure(lm=dspy.LM(os.environ.get("MODEL", "openai/gpt-5-mini"), cache=False), track_usage=True)
agent = dspy.ReAct("question -> answer", tools=[weather])


async def answer(payload: dict[str, Any], context: StreamContext) -> str:
    thoughts = StreamListener("next_thought", agent.react, allow_reuse=True)
    reasoning = StreamListener("reasoning", agent.extract.predict)
    text = StreamListener("answer", agent.extract.predict)
    stream = dspy.streamify(agent, stream_listeners=[thoughts, reasoning, text], is_async_program=True)
    async with aclosing(stream(question=payload["question"])) as events:
        async for event in events:
            match event:
                case StreamResponse(signature_field_name="answer", chunk=chunk) if chunk:
                    await context.emit_token(chunk)
                case StreamResponse(chunk=chunk) if chunk:
                    await context.emit_reasoning(chunk)
                case dspy.Prediction():
                    prediction = event
    for model, usage in prediction.get_lm_usage().items():
        await context.emit_usage(model, usage["prompt_tokens"], usage["completion_tokens"])
    return prediction.answer
