"""Run ids from a custom generator (`streaming.id_generator.handler`)."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion.errors import DockrionError
from dockrion.ids import RUN_ID_PATTERN
from dockrion.signatures import signature_of
from dockrion.threads import in_thread

_TIMEOUT = 5.0
_MAX_CALLS = 64  # each takes a thread, which a generator that hangs never releases
_FAILED = "the run id generator failed; name a run id with ?run_id="


class IdRequest(msgspec.Struct, frozen=True):
    """The argument of a custom generator.

    Attributes:
        agent_name: The agent's name.
        timestamp: When the run is created, UTC.
    """

    agent_name: str
    timestamp: datetime


class CustomIdGenerator:
    """Calls a custom generator of run ids, sync or async.

    Args:
        generator: Called with an `IdRequest` if it requires an argument, otherwise without.
        agent_name: The agent's name.

    Raises:
        TypeError: It requires more than one argument.
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
        """Return a new run id.

        Raises:
            DockrionError: The generator raised, timed out, or returned something else.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                run_id = await in_thread(self._call, "dockrion-id")
                if inspect.isawaitable(run_id):
                    run_id = await run_id
        except (Exception, SystemExit) as error:
            raise DockrionError(_FAILED) from error
        if not isinstance(run_id, str) or not RUN_ID_PATTERN.fullmatch(run_id):
            wrong = ValueError(f"the run id generator returned {run_id!r:.200}, which is not a run id")
            raise DockrionError(_FAILED) from wrong
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
