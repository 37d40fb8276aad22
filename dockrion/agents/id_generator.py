"""Run ids made by the Dockfile's own generator (`streaming.id_generator.handler`)."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion.agents.callables import signature_of
from dockrion.errors import DockrionError
from dockrion.ids import RUN_ID_PATTERN
from dockrion.threads import in_thread

_GENERATOR_SECONDS = 5.0
_MAX_CALLS = 64  # each a thread, which a generator that hangs never gives back


class IdRequest(msgspec.Struct, frozen=True):
    """What a custom generator may look at.

    Attributes:
        agent_name: The agent's name.
        timestamp: When the run is created, UTC.
    """

    agent_name: str
    timestamp: datetime


class CustomIds:
    """Asks the Dockfile's own generator, sync or async, for run ids.

    Args:
        generator: Called without argument, or with an `IdRequest` if it takes one.
        agent_name: The agent's name.

    Raises:
        TypeError: It can be called in neither way.
    """

    def __init__(self, generator: Callable[..., Any], agent_name: str) -> None:
        self._generator = generator
        self._agent_name = agent_name
        self._slots = threading.Semaphore(_MAX_CALLS)
        signature = signature_of(generator)
        required = [p for p in signature.parameters.values() if p.default is p.empty]
        self._takes_request = any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in required)
        signature.bind(*([None] if self._takes_request else []))

    async def new(self) -> str:
        """Return a new id.

        Raises:
            DockrionError: The generator raised, took too long, or returned no run id.
        """
        try:
            async with asyncio.timeout(_GENERATOR_SECONDS):
                run_id = await in_thread(self._call, "dockrion-id")
                if inspect.isawaitable(run_id):
                    run_id = await run_id
        except (Exception, SystemExit) as error:
            raise DockrionError("the run id generator failed; name a run id with ?run_id=") from error
        if not isinstance(run_id, str) or not RUN_ID_PATTERN.fullmatch(run_id):
            wrong = ValueError(f"the run id generator returned {run_id!r:.200}, which is no run id")
            raise DockrionError("the run id generator failed; name a run id with ?run_id=") from wrong
        return run_id

    def _call(self) -> Any:
        if not self._slots.acquire(blocking=False):
            raise RuntimeError(f"{_MAX_CALLS} calls of the run id generator have not returned")
        try:
            if self._takes_request:
                return self._generator(IdRequest(self._agent_name, datetime.now(UTC)))
            return self._generator()
        finally:
            self._slots.release()
