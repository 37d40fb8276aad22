"""The agent under chaos, copied beside its Dockfile: emits numbered tokens, at once or over some time."""

import asyncio
import time
from pathlib import Path
from typing import Any

from dockrion import StreamContext

STARTS = Path(__file__).with_name("starts")


async def handle(payload: dict[str, Any], context: StreamContext) -> dict[str, Any]:
    with STARTS.open("a") as starts:
        starts.write(f"{payload['request']} {context.run_id} {context.attempt}\n")
    if payload["threaded"]:
        await asyncio.to_thread(_emit, payload, context)
    else:
        for number in range(payload["tokens"]):
            await context.emit_token(str(number))
            if payload["pause"]:
                await asyncio.sleep(payload["pause"])
    return {"tokens": payload["tokens"], "request": payload["request"]}


def _emit(payload: dict[str, Any], context: StreamContext) -> None:
    for number in range(payload["tokens"]):
        context.sync_emit_token(str(number))
        if payload["pause"]:
            time.sleep(payload["pause"])
