"""Background tasks: references to them, and their cancellation."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_CANCEL_AGAIN_SECONDS = 0.02


class BackgroundTasks:
    """Keeps references to tasks until they are done; the event loop keeps only weak ones."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter(tuple(self._tasks))

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as a task."""
        return self.track(asyncio.create_task(coroutine))

    def track(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """Keep a reference to a task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self, timeout: float) -> None:  # noqa: ASYNC109  a bound, not a deadline
        """Cancel all tasks and wait for them to finish.

        Args:
            timeout: The longest wait, in seconds.
        """
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    async def cancel_until_done(self) -> None:
        """Cancel all tasks repeatedly until they are done.

        For tasks in libraries that may swallow a cancellation, as redis-py does while it connects.
        """
        while pending := set(self._tasks):
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
