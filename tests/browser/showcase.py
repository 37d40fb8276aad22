"""Agents that show what the page can show, for its screenshots."""

import asyncio
from typing import Any

from dockrion import StreamContext

QUESTION = "How did rainfall in Lisbon change over the last century?"
REASONING = "Yearly totals vary too much to compare single years, so I compare thirty-year means. "
ANSWER = """Rainfall in Lisbon has **fallen slightly**, and falls on fewer days than a century ago.

| Years | Mean, mm | Wet days |
|---|---:|---:|
| 1911 to 1940 | 742 | 113 |
| 1961 to 1990 | 751 | 108 |
| 1991 to 2020 | 726 | 99 |

Two things stand out:

1. Winters carry most of the change; summers were always dry.
2. The *heaviest* days became heavier, as the [summary](https://example.org/summary) says.

```python
means = rain.rolling(years=30).mean()
```
"""
INPUT = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "description": "What you would like to know"},
        "sources": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10,
            "default": 3,
            "description": "How many to read",
        },
        "style": {"enum": ["brief", "thorough"], "default": "brief"},
    },
    "required": ["question"],
}
CHAT = {
    "type": "object",
    "properties": {
        "messages": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"role": {"type": "string"}, "content": {"type": "string"}},
                "required": ["role", "content"],
            },
        }
    },
    "required": ["messages"],
}
BEGINNING, REST = ANSWER[: ANSWER.index("Two things")], ANSWER[ANSWER.index("Two things") :]
answered = asyncio.Event()  # until it is set, the researcher is at work


async def researcher(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    """Look for sources, think about them, and answer."""
    await context.emit_progress("read sources", 0.33, "one of three")
    await context.emit_step("plan", 180, output_keys=["queries"])
    await context.emit_reasoning(REASONING, source="analyst")
    call = await context.emit_tool_call(
        "search", {"query": "Lisbon rainfall 1911 to 2020", "limit": payload["sources"]}
    )
    await asyncio.sleep(0.4)
    await context.emit_tool_result(call, {"hits": 3, "best": "Monthly totals since 1911"}, duration_ms=412)
    await context.emit_progress("read sources", 1, "three of three")
    await context.emit_step("search", 430, input_keys=["queries"], output_keys=["documents"])
    await context.checkpoint("documents", {"count": 3, "years": [1911, 2020]})
    call = await context.emit_tool_call("mean", {"years": 30}, source="analyst")
    for start in range(0, len(BEGINNING), 12):
        await context.emit_token(BEGINNING[start : start + 12], message_id="answer")
    await answered.wait()
    await context.emit_tool_result(call, [742, 751, 726], duration_ms=96, source="analyst")
    await context.emit_token(REST, message_id="answer")
    await context.emit_step("write", 820, input_keys=["documents"], output_keys=["answer"])
    await context.emit_usage("large-model", 2310, 412)
    await context.emit_usage("small-model", 940, 88)
    return {"answer": ANSWER}


async def talker(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    """Answer the last message."""
    text = payload["messages"][-1]["content"]
    answer = (
        f"You asked: *{text}* The short answer is that **it depends on the season**."
        if "?" in text
        else "Gladly."
    )
    for word in answer.split(" "):
        await context.emit_token(f"{word} ")
    return {"messages": [*payload["messages"], {"role": "assistant", "content": answer}]}


async def unlucky(payload: dict[str, Any], context: StreamContext) -> None:
    """Fail in the middle of the work."""
    await context.emit_step("plan", 40)
    await context.emit_token("Let me look that up. ")
    call = await context.emit_tool_call("search", {"query": payload["question"]})
    await context.emit_tool_result(call, "503 Service Unavailable", is_error=True, duration_ms=1900)
    raise ConnectionError("the search service did not answer within 2 s")
