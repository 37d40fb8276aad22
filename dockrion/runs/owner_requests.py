"""Requests between replicas about runs: to the owner of a run, and from others about runs of this process.

A request is JSON that begins with its kind, `{"kind":"answer",…`. Pushed events have no kind, since replicas
of earlier versions send, and receive, none; those know no other requests, and own no run that is asked them.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from dockrion.backends.owner_messages import OwnerMessages, OwnerRequest
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import (
    Conflict,
    DockrionError,
    Gone,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
)
from dockrion.logs import log

_logger = logging.getLogger(__name__)
_KIND = re.compile(rb'\{"kind":"([a-z]{1,32})"')
PUSH = "push"
T = TypeVar("T")
Handler = Callable[[OwnerRequest], Awaitable[Any]]


class Refusal(msgspec.Struct, frozen=True, tag="_Refused"):
    """Why the owner does not do what a request asks for, as its reply. Replicas of other versions read it."""

    kind: str
    message: str
    details: Any = None


_REFUSALS: dict[str, type[DockrionError]] = {
    kind.__name__: kind
    for kind in (InvalidRequest, Conflict, ServiceUnavailable, PayloadTooLarge, NotFound, Gone)
}
UNREACHABLE = "the run cannot be reached at present; try again later"
# Not "unavailable": the producer need not try again.
_NO_PUSHES = Refusal(
    InvalidRequest.__name__,
    "the replica that executes this run accepts no pushed events; see streaming.ingest",
)


class OwnerRequests:
    """Sends requests to the owners of runs, and passes on those that arrive, each in a task of its own.

    Args:
        backend: Reaches the owners of runs.
    """

    def __init__(self, backend: OwnerMessages) -> None:
        self._backend = backend
        self._handlers: dict[str, Handler] = {}
        self._tasks = BackgroundTasks()  # the listener, and a reply to each request
        self._tasks.start(self._listen())

    def on(self, kind: str, handle: Handler) -> None:
        """Handle the requests of a kind.

        Args:
            kind: The kind.
            handle: Returns the reply, a tagged struct, or raises a `DockrionError` for the sender to raise.
        """
        self._handlers[kind] = handle

    async def send(self, run_id: str, request: msgspec.Struct, incarnation: str, reply_type: type[T]) -> T:
        """Send a request to the owner of a run, and return the reply.

        Args:
            run_id: The run.
            request: The request, whose tag is its kind.
            incarnation: The run's incarnation.
            reply_type: The type of the reply, a tagged struct.

        Raises:
            DockrionError: The owner raised it.
            RunNotFound: No such run.
            ServiceUnavailable: No reply arrived; the owner may have handled the request all the same.
        """
        body = await self._backend.request_owner(run_id, msgspec.json.encode(request), incarnation)
        reply: Any = msgspec.json.decode(body, type=reply_type | Refusal)
        if isinstance(reply, Refusal):
            raise _REFUSALS.get(reply.kind, ServiceUnavailable)(reply.message, details=reply.details)
        return reply  # type: ignore[no-any-return]

    async def aclose(self, timeout: float) -> None:  # noqa: ASYNC109  a bound, not a deadline
        """Handle no more requests.

        Args:
            timeout: How long those that are being handled may take to stop, in seconds.
        """
        await self._tasks.cancel(timeout)

    async def _listen(self) -> None:
        async for request in self._backend.owner_requests():
            self._tasks.start(self._reply(request))

    async def _reply(self, request: OwnerRequest) -> None:
        kind, run_id = _kind(request.body), request.run_id
        try:
            reply = await self._handled(kind, request)
        except DockrionError as error:
            reply = _refusal(error)
        except Exception as error:
            log(_logger, logging.ERROR, "replica's request failed", run_id=run_id, kind=kind, error=error)
            reply = _refusal(ServiceUnavailable(UNREACHABLE))
        try:
            await request.reply(msgspec.json.encode(reply))
        except ServiceUnavailable as error:
            log(_logger, logging.WARNING, "no reply to a replica", run_id=run_id, kind=kind, error=error)

    async def _handled(self, kind: str, request: OwnerRequest) -> Any:
        handle = self._handlers.get(kind)
        if handle is not None:
            return await handle(request)
        if kind == PUSH:
            return _NO_PUSHES
        raise ServiceUnavailable("the replica that executes this run is of another version; try again later")


def _kind(body: bytes) -> str:
    """Return the kind of a request."""
    match = _KIND.match(body)
    return PUSH if match is None else match[1].decode()


def _refusal(error: DockrionError) -> Refusal:
    kind = next(
        (name for name, each in _REFUSALS.items() if isinstance(error, each)), ServiceUnavailable.__name__
    )
    return Refusal(kind, error.message, error.details)
