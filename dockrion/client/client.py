"""The client."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from aiohttp import hdrs

from dockrion.client.errors import ProtocolError
from dockrion.client.stream import Stream
from dockrion.client.transport import INVOKE, NOT_BEGUN, STREAM, Request, Service, Token
from dockrion.ids import RUN_ID_PATTERN

RETRY_TIMEOUT_SECONDS = 60.0
Status = Literal["accepted", "running", "completed", "failed", "cancelled"]


class InvokeResult(msgspec.Struct, frozen=True):
    """What an agent answered.

    Attributes:
        output: Its output.
        metadata: More about it: `latency_seconds`, and `output_errors` where it breaks the schema.
    """

    output: Any
    metadata: dict[str, Any] = {}


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was begun.

    Attributes:
        events_url: Where its events are, a path; None where the service streams none.
        events_token: Lets a browser read them (`?token=`); None where nobody is asked for a token.
        events_token_expires_in: For so many seconds.
    """

    run_id: str
    status: Status
    created_at: datetime
    events_url: str | None = None
    events_token: str | None = None
    events_token_expires_in: int | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run. In listings it comes without its output."""

    run_id: str
    status: Status
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output: Any = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    last_sequence: int = 0


class _Page(msgspec.Struct):
    items: list[Run]
    next: str | None


class _Ended(msgspec.Struct):
    status: Status


class Client:
    """Asks a service and watches its runs: `async with Client(url) as client`.

    Requests that are safe to repeat are sent again when the service says when (`Retry-After`); one
    that may have been worked on never is. Streams come back by themselves.

    Args:
        url: http://host:port of the service.
        token: Sent as `Authorization: Bearer`. A function, sync or async, is called for each request, and
            once more when the service does not accept what it gave.
        api_key: Sent as `X-API-Key`.
        headers: More headers of each request.
        retry_timeout: Seconds to keep retrying while the service is unreachable or busy; 0 for no retry.

    Raises:
        ValueError: The URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry_timeout: float = RETRY_TIMEOUT_SECONDS,
    ) -> None:
        key = {} if api_key is None else {"X-API-Key": api_key}
        self._service = Service(url, token, {**(headers or {}), **key}, retry_timeout)

    async def __aenter__(self) -> Self:
        self._service.open()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._service.aclose()

    def stream(self, payload: Any, *, resume: bool = True) -> Stream:
        """Run the agent and return its events as they are emitted (pattern A).

        Nothing is sent before the first event is asked for. To leave the loop before the run is over is to
        cancel it.

        Args:
            payload: What the agent gets: anything msgspec makes JSON of.
            resume: Go on with the run when the connection is lost. Without it such a run is cancelled, which
                is what a service without `streaming.async_runs` needs: there nobody could go on or cancel.
        """
        request = Request(
            method=hdrs.METH_POST,
            path=("invoke", "stream"),
            query={"on_disconnect": "continue" if resume else "cancel"},
            headers={hdrs.ACCEPT: "text/event-stream"},
            body=msgspec.json.encode(payload),
            unworked=NOT_BEGUN,
            timeout=STREAM,
        )
        return Stream(self._service, begin=request, resume=resume)

    def events(self, run_id: str, after: int = 0) -> Stream:
        """Return the events of a run (pattern B), also of one that is long over.

        Args:
            run_id: The run.
            after: The last sequence that is not wanted any more.

        Raises:
            ValueError: The run id is malformed, or the sequence negative.
        """
        if after < 0:
            raise ValueError("after is the sequence of an event, or 0")
        return Stream(self._service, run_id=_checked(run_id), after=after)

    async def invoke(self, payload: Any) -> InvokeResult:
        """Run the agent and wait for its output, at most as long as the service's `arguments.timeout_sec`.

        Raises:
            ServerError, AgentTimeout: The agent failed, or took too long.
            ClientError: Another error.
        """
        body = msgspec.json.encode(payload)
        request = Request(method=hdrs.METH_POST, path=("invoke",), body=body, timeout=INVOKE)
        return await self._service.json(request, InvokeResult)

    async def start(self, payload: Any, run_id: str | None = None) -> Accepted:
        """Begin a run, and return while it works.

        Args:
            payload: What the agent gets.
            run_id: What the run shall be called.

        Raises:
            Conflict: There is a run of this id.
            ValueError: The run id is malformed.
            ClientError: Another error.
        """
        request = Request(
            method=hdrs.METH_POST,
            path=("runs",),
            query={} if run_id is None else {"run_id": _checked(run_id)},
            body=msgspec.json.encode(payload),
            unworked=NOT_BEGUN,
        )
        return await self._service.json(request, Accepted)

    async def get(self, run_id: str) -> Run:
        """Return the record of a run.

        Raises:
            NotFound: There is none.
            ClientError: Another error.
        """
        return await self._service.json(Request(method=hdrs.METH_GET, path=("runs", _checked(run_id))), Run)

    async def runs(self, status: Status | None = None) -> AsyncIterator[Run]:
        """Yield the runs, newest first, without their outputs; pages are fetched as they are wanted.

        Args:
            status: Only those in this state.

        Raises:
            ClientError: An error.
        """
        query: dict[str, str] = {} if status is None else {"status": status}
        while True:
            page = await self._service.json(Request(method=hdrs.METH_GET, path=("runs",), query=query), _Page)
            for run in page.items:
                yield run
            if page.next is None:
                return
            if page.next == query.get("cursor"):
                raise ProtocolError("the list of runs does not go on")
            query["cursor"] = page.next

    async def cancel(self, run_id: str, reason: str | None = None) -> None:
        """Cancel a run, and return when it is over.

        Raises:
            InvalidRequest: It was over already.
            NotFound: There is none.
            ClientError: Another error.
        """
        query = {} if reason is None else {"reason": reason}
        await self._service.json(
            Request(method=hdrs.METH_DELETE, path=("runs", _checked(run_id)), query=query), _Ended
        )


def _checked(run_id: str) -> str:
    if not RUN_ID_PATTERN.fullmatch(run_id):
        raise ValueError("a run id is 1 to 128 letters, digits, '-' and '_', the first a letter or a digit")
    return run_id
