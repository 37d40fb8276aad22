"""The client: requests to a service, and the streams of its runs."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from aiohttp import hdrs

from dockrion.client.errors import ProtocolError
from dockrion.client.stream import Stream
from dockrion.client.transport import INVOKE, NOT_STARTED, STREAM, Request, Token, Transport
from dockrion.ids import IDEMPOTENCY_HEADER, RUN_ID_FORM, RUN_ID_PATTERN, uuid7
from dockrion.wire import sse

RETRY_TIMEOUT_SECONDS = 60.0
Status = Literal["accepted", "running", "completed", "failed", "cancelled"]


class InvokeResult(msgspec.Struct, frozen=True):
    """The result of an invocation.

    Attributes:
        output: The agent's output.
        metadata: `latency_seconds` and others; `output_errors` if the output breaks the schema.
    """

    output: Any
    metadata: dict[str, Any] = {}


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has been started.

    Attributes:
        events_url: The path of its events; None if the service does not stream.
        events_token: Lets a browser read the events (`?token=`); None if the service needs no credentials.
        events_token_expires_in: The token's lifetime in seconds.
    """

    run_id: str
    status: Status
    created_at: datetime
    events_url: str | None = None
    events_token: str | None = None
    events_token_expires_in: int | None = None


class WaitingFor(msgspec.Struct, frozen=True, kw_only=True):
    """A question that a run waits for the answer to.

    Attributes:
        request_id: The question, for `Client.respond`.
        schema: The JSON Schema of the answer, None for any answer.
        expires_at: When the agent stops waiting; None if it waits as long as the run may take.
    """

    request_id: str
    prompt: str
    schema: dict[str, Any] | None = None
    expires_at: datetime | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run. Listings leave out its input and output, and shorten what is large.

    Attributes:
        input: The request's body, secrets masked; None if the service does not store it.
        input_excerpt: One line of the input, in listings only; None likewise.
        waiting_for: The oldest of its open questions.
        truncated: Whether a listing has shortened `error` or `metadata`; `get` returns all of them.
    """

    run_id: str
    status: Status
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    input: Any = None
    input_excerpt: str | None = None
    output: Any = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    last_sequence: int = 0
    waiting_for: WaitingFor | None = None
    truncated: bool = False


class _Page(msgspec.Struct):
    items: list[Run]
    next: str | None


class _Cancelled(msgspec.Struct):
    status: Status


class _Responded(msgspec.Struct):
    request_id: str


class Client:
    """A client of one service: `async with Client(url) as client`.

    Requests that are safe to repeat are sent again when the service says when (`Retry-After`). Those that
    start work have an `Idempotency-Key`: when the connection is lost they are sent again, and the service
    carries them out once. Streams reconnect by themselves.

    Args:
        url: The service, http://host:port.
        token: Sent as `Authorization: Bearer`. A function, sync or async, is called for each request, and
            again if the service rejects the token.
        api_key: Sent as `X-API-Key`.
        headers: More headers for each request.
        retry_timeout: Seconds to keep retrying while the service is unreachable or busy; 0 for no retry.

    Raises:
        ValueError: The URL is malformed.
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
        self._transport = Transport(url, token, [*(headers or {}).items(), *key.items()], retry_timeout)

    async def __aenter__(self) -> Self:
        self._transport.open()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    def stream(self, payload: Any, *, resume: bool = True) -> Stream:
        """Run the agent and return its events as they are emitted (pattern A).

        The run starts when iteration does. Leaving the loop before the run is over cancels it.

        Args:
            payload: The agent's input: anything that msgspec can encode as JSON.
            resume: Reconnect when the connection is lost. With False the service cancels such a run; pass it
                to a service without `streaming.async_runs`, where runs can be neither resumed nor cancelled.
        """
        request = Request(
            "POST",
            ("invoke", "stream"),
            query={"on_disconnect": "continue" if resume else "cancel"},
            headers={hdrs.ACCEPT: sse.MEDIA_TYPE} | (_once() if resume else {}),
            body=msgspec.json.encode(payload),
            retryable=NOT_STARTED,
            timeout=STREAM,
        )
        return Stream(self._transport, start=request, resume=resume)

    def events(self, run_id: str, after: int = 0) -> Stream:
        """Return the events of a run (pattern B), which may be over already.

        Args:
            run_id: The run.
            after: Skip the events up to this sequence.

        Raises:
            ValueError: The run id is malformed, or the sequence negative.
        """
        if after < 0:
            raise ValueError("after is the sequence of an event or 0, not negative")
        return Stream(self._transport, run_id=_checked(run_id), after=after)

    async def invoke(self, payload: Any) -> InvokeResult:
        """Run the agent and wait for its output, at most as long as the service's `arguments.timeout_sec`.

        Raises:
            ServerError, AgentTimeout: The agent failed, or took too long.
            ClientError: Any other error.
        """
        body = msgspec.json.encode(payload)
        request = Request(
            "POST", ("invoke",), headers=_once(), body=body, retryable=NOT_STARTED, timeout=INVOKE
        )
        return await self._transport.fetch(request, InvokeResult)

    async def start(self, payload: Any, run_id: str | None = None) -> Accepted:
        """Start a run, and return without waiting for it.

        Args:
            payload: The agent's input.
            run_id: The run's id; by default the service generates one.

        Raises:
            Conflict: A run with this id exists, unless this caller has started it with the same payload.
            ValueError: The run id is malformed.
            ClientError: Any other error.
        """
        request = Request(
            "POST",
            ("runs",),
            query={"run_id": None if run_id is None else _checked(run_id)},
            headers=_once(),
            body=msgspec.json.encode(payload),
            retryable=NOT_STARTED,
        )
        return await self._transport.fetch(request, Accepted)

    async def get(self, run_id: str) -> Run:
        """Return the record of a run.

        Raises:
            NotFound: No such run.
            ClientError: Any other error.
        """
        return await self._transport.fetch(Request("GET", ("runs", _checked(run_id))), Run)

    async def runs(self, status: Status | None = None, *, waiting: bool = False) -> AsyncIterator[Run]:
        """Yield the runs, newest first, without their outputs, large ones shortened. Fetch pages as needed.

        Args:
            status: Only the runs with this status.
            waiting: Only the runs that wait for an answer.

        Raises:
            ClientError: Any error.
        """
        query: dict[str, str | None] = {"status": status, "waiting": "true" if waiting else None}
        while True:
            page = await self._transport.fetch(Request("GET", ("runs",), query=query), _Page)
            for run in page.items:
                yield run
            if page.next is None:
                return
            if page.next == query.get("cursor"):
                raise ProtocolError("the list of runs repeats a page")
            query["cursor"] = page.next

    async def cancel(self, run_id: str, reason: str | None = None) -> None:
        """Cancel a run, and return when it is over.

        Raises:
            InvalidRequest: It was over already.
            NotFound: No such run.
            ClientError: Any other error.
        """
        request = Request("DELETE", ("runs", _checked(run_id)), query={"reason": reason})
        await self._transport.fetch(request, _Cancelled)

    async def respond(self, run_id: str, request_id: str, value: Any) -> None:
        """Answer a question of a run.

        Args:
            run_id: The run.
            request_id: The question, from its `InputRequested` or from `Run.waiting_for`.
            value: The answer: anything that msgspec can encode as JSON.

        Raises:
            InvalidRequest: The answer breaks the question's schema; `details` lists every violation.
            Conflict: The question has been answered already, or is not asked any more.
            NotFound: No such run.
            Forbidden: This caller may not answer.
            ValueError: The run id is malformed.
            ClientError: Any other error.
        """
        body = msgspec.json.encode({"request_id": request_id, "value": value})
        request = Request("POST", ("runs", _checked(run_id), "input"), body=body)
        await self._transport.fetch(request, _Responded)


def _once() -> dict[str, str]:
    """Return the header with which a service carries a request out once, however often it is sent."""
    return {IDEMPOTENCY_HEADER: uuid7()}


def _checked(run_id: str) -> str:
    if not RUN_ID_PATTERN.fullmatch(run_id):
        raise ValueError(f"invalid run id: expected {RUN_ID_FORM}")
    return run_id
