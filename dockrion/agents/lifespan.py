"""What the agent's code opens before its first run, and closes after its last.

A module or an object may have functions `startup` and `shutdown`, sync or async. An object that is an
async context manager is entered and exited instead.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

from dockrion.errors import StartError
from dockrion.json_encoding import describe_error
from dockrion.logs import log
from dockrion.runs.agent import Agent
from dockrion.runs.execution import STOP_SECONDS
from dockrion.signatures import signature_of
from dockrion.threads import in_thread

STARTUP_SECONDS = 300.0
SHUTDOWN_SECONDS = 10.0
_logger = logging.getLogger(__name__)
_STARTUP, _SHUTDOWN = "startup", "shutdown"
_CANCELLED_ITSELF = (
    "the agent has cancelled its own start, as a task group does that it has entered when a task in it fails"
)
_FAILURES = (Exception, BaseExceptionGroup, asyncio.CancelledError, SystemExit, KeyboardInterrupt)


class Lifespan:
    """Opens an agent, and keeps it open in one task: a task group must be left in the task that entered it.

    Args:
        load: Makes the agent. It enters on the stack whatever has to be closed again.

    Attributes:
        broken: Whether the agent is closed although the service needs it: a task of its own has failed.
    """

    def __init__(self, load: Callable[[AsyncExitStack], Awaitable[Agent]]) -> None:
        self._opened: asyncio.Future[Agent] = asyncio.get_running_loop().create_future()
        self.broken = False
        self._closing = asyncio.Event()
        self._task = asyncio.create_task(self._run(load), name="dockrion-lifespan")

    async def agent(self) -> Agent:
        """Return the agent once it is open.

        Raises:
            StartError: It cannot be opened; what was opened before that is closed again.
        """
        await asyncio.wait((self._opened, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not self._opened.done():
            if self._task.cancelled() and not self._closing.is_set():
                raise StartError(_CANCELLED_ITSELF)
            await self._task
        return self._opened.result()

    async def aclose(self) -> None:
        """Close the agent, or stop opening it. What does not end in time is abandoned."""
        self._closing.set()
        if not self._opened.done():
            self._task.cancel()
        _, late = await asyncio.wait((self._task,), timeout=SHUTDOWN_SECONDS + STOP_SECONDS)
        if late:
            log(_logger, logging.ERROR, "agent does not close")
        elif not self._task.cancelled():
            self._task.exception()  # which `agent` raises, if anyone waits for it

    async def _run(self, load: Callable[[AsyncExitStack], Awaitable[Agent]]) -> None:
        async with AsyncExitStack() as stack:
            self._opened.set_result(await load(stack))
            try:
                await self._closing.wait()
            except asyncio.CancelledError:
                if not self._closing.is_set():
                    self.broken = True
                    log(_logger, logging.ERROR, "agent closed before the service")
                raise


async def enter(owner: Any, name: str, stack: AsyncExitStack) -> Any:
    """Open a module or an object of the agent, and return what is to be used: for a module, itself.

    Args:
        owner: The module or object.
        name: What messages call it.
        stack: Closes it again.

    Raises:
        StartError: It cannot be opened.
    """
    if isinstance(owner, AbstractAsyncContextManager):
        entered = await _open(owner.__aenter__, f"{name}: __aenter__()")
        stack.push_async_callback(_close, partial(owner.__aexit__, None, None, None), f"{name}: __aexit__()")
        return owner if entered is None else entered
    check_hooks(owner, name)
    if startup := _hook(owner, _STARTUP, name):
        await _open(partial(_call, startup), f"{name}: startup()")
    if shutdown := _hook(owner, _SHUTDOWN, name):
        stack.push_async_callback(_close, partial(_call, shutdown), f"{name}: shutdown()")
    return owner


def check_hooks(owner: Any, name: str) -> None:
    """Check that `startup` and `shutdown` of a module or an object can be called, without calling them.

    Args:
        owner: The module or object.
        name: What messages call it.

    Raises:
        StartError: One takes arguments, or yields.
    """
    for hook_name in (_STARTUP, _SHUTDOWN):
        hook = _hook(owner, hook_name, name)
        if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
            raise StartError(
                f"{name}: {hook_name}() yields; write one function for startup, one for shutdown"
            )
        if hook is not None and not _takes_nothing(hook):
            raise StartError(
                f"{name}: {hook_name}() is called without arguments when the service starts or ends, but it "
                "takes some; rename it if it is something else"
            )


def has_startup(owner: Any, name: str) -> bool:
    """Return whether a module or an object has something to do at start; see `check_hooks`."""
    return _hook(owner, _STARTUP, name) is not None


def _hook(owner: Any, hook_name: str, name: str) -> Callable[[], Any] | None:
    if inspect.getattr_static(owner, hook_name, None) is None:  # a proxy's `__getattr__` has every name
        return None
    try:
        hook = getattr(owner, hook_name)
    except _FAILURES as error:  # a property
        raise StartError(f"{name}: {hook_name} raised {describe_error(error)}") from error
    return hook if callable(hook) else None


def _takes_nothing(hook: Callable[..., Any]) -> bool:
    try:
        signature_of(hook).bind()
    except TypeError:
        return False
    except ValueError:  # some builtins have none
        return True
    return True


async def _call(hook: Callable[[], Any]) -> None:
    """Call a hook in a thread, since sync ones may block, and await what it returns here."""
    result = await in_thread(hook, "dockrion-lifespan")
    if inspect.isawaitable(result):
        await result


async def _open(action: Callable[[], Awaitable[Any]], name: str) -> Any:
    limit = asyncio.timeout(STARTUP_SECONDS)
    try:
        async with limit:
            return await action()
    except _FAILURES as error:
        if _is_cancelled_by_others(error):
            raise
        if limit.expired():
            raise StartError(f"{name} has not returned within {STARTUP_SECONDS:g} s") from error
        raise StartError(f"{name} raised {describe_error(error)}") from error


async def _close(action: Callable[[], Awaitable[Any]], name: str) -> None:
    """Close something; a failure must not keep the rest from being closed."""
    limit = asyncio.timeout(SHUTDOWN_SECONDS)
    try:
        async with limit:
            await action()
    except _FAILURES as error:
        if _is_cancelled_by_others(error):
            raise
        if limit.expired():
            log(_logger, logging.ERROR, "agent shutdown takes too long", what=name, seconds=SHUTDOWN_SECONDS)
            return
        log(_logger, logging.ERROR, "agent shutdown failed", what=name, error=error)


def _is_cancelled_by_others(error: BaseException) -> bool:
    """Return whether this task is being cancelled; agents may raise `CancelledError` themselves."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
