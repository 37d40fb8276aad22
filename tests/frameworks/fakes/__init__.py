"""The recipes of the guide with the frameworks' own test models: a module per framework, with its `answer`.

Each model reasons, calls the tool `weather` for Rome, and answers in pieces. Asked to go on `FOREVER`, it
does not call the tool, and answers until it is stopped.
"""

import asyncio
from collections.abc import AsyncIterator

REASONING = ["I should ", "look."]
TEXT = ["It rains ", "in ", "Rome."]
FOREVER = "forever"
STOPPED = "the model was stopped"


async def endless() -> AsyncIterator[str]:
    """Yield words until the consumer stops, and report that."""
    try:
        while True:
            yield "on and "
            await asyncio.sleep(0.01)
    finally:
        print(STOPPED)
