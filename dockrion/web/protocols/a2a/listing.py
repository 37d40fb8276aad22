"""Lists of A2A's tasks: the caller's runs."""

from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from dockrion.backends.run_log import BadCursor, Listing, Run
from dockrion.backends.run_log import Status as RunStatus
from dockrion.errors import RunNotFound
from dockrion.events import Utc
from dockrion.protocols.a2a.objects import Status, TaskState, Version, state_in_1_0
from dockrion.protocols.a2a.requests import UNSPECIFIED, ListParams
from dockrion.protocols.json_rpc import INVALID_PARAMS, Request, RpcError, params_of, result_response
from dockrion.web.access import owner_filter
from dockrion.web.protocols.a2a.tasks import task_as_it_is, writer_of
from dockrion.web.responses import encoded_response
from dockrion.web.service import SERVICE

_MAX_READS = 20  # of the listing of runs, for one page of tasks
_MAX_WHOLE_TASKS = 10  # tasks of a page that shows artifacts
_MAX_PAGE_BYTES = 2**20  # after which such a page is full
_MAX_RUNS = 100  # that are read at a time
_NOT_COUNTED = -1
_RUN_STATUSES: dict[TaskState, RunStatus | None] = {
    "submitted": "accepted",
    "working": "running",
    "input-required": None,  # runs that wait for an answer
    "completed": "completed",
    "failed": "failed",
    "canceled": "cancelled",
}
_STATES: dict[RunStatus, TaskState] = {
    status: state for state, status in _RUN_STATUSES.items() if status is not None
}
_STATES_BY_NAME = {state_in_1_0(state): state for state in _RUN_STATUSES}
_OTHER_STATES = frozenset({"TASK_STATE_REJECTED", "TASK_STATE_AUTH_REQUIRED"})  # in which no task is
_IN_CAMEL_CASE = dict(zip(ListParams.__struct_fields__, ListParams.__struct_encode_fields__, strict=True))


class _Fields(msgspec.Struct):
    timestamp: Utc


async def list_tasks(request: web.Request, rpc: Request, version: Version) -> web.StreamResponse:
    """Return tasks that the caller may read, those that were created last first."""
    # Clients that write protocol buffers as JSON may use the names of their definition, which are snake_case.
    named = {_IN_CAMEL_CASE.get(name, name): value for name, value in rpc.params.items()}
    params = params_of(msgspec.structs.replace(rpc, params=named), ListParams)
    if params.status not in {UNSPECIFIED, *_STATES_BY_NAME, *_OTHER_STATES}:
        raise RpcError(INVALID_PARAMS, f"there is no state {params.status:.100}")
    page = _Page(request, rpc, version, params)
    try:
        next_token = "" if params.status in _OTHER_STATES else await page.fill()
    except BadCursor:
        raise RpcError(INVALID_PARAMS, "pageToken must be the nextPageToken of an earlier response") from None
    counted = not (params.page_token or next_token)
    result = {
        "tasks": page.tasks,
        "nextPageToken": next_token,
        "pageSize": page.size,
        "totalSize": len(page.tasks) if counted else _NOT_COUNTED,
    }
    return encoded_response(result_response(rpc.response_id, result))


class _Page:
    """One page of tasks.

    Attributes:
        size: How many tasks it has at most.
        tasks: The tasks, as JSON.
    """

    def __init__(self, request: web.Request, rpc: Request, version: Version, params: ListParams) -> None:
        self.size = min(params.page_size, _MAX_WHOLE_TASKS) if params.include_artifacts else params.page_size
        self.tasks: list[msgspec.Raw] = []
        self._request, self._rpc, self._version, self._params = request, rpc, version, params
        self._log = request.app[SERVICE].backend
        self._state = _STATES_BY_NAME.get(params.status)
        self._left = _MAX_PAGE_BYTES

    async def fill(self) -> str:
        """Add tasks until the page is full or enough runs were examined; return the next page's token."""
        params, cursor = self._params, self._params.page_token or None
        is_filtered = params.context_id or params.status_timestamp_after or self._state == "working"
        for _ in range(_MAX_READS):
            listing = await self._runs(cursor, _MAX_RUNS if is_filtered else self.size)
            for number, run in enumerate(listing.items, 1):
                await self._add(run)
                if len(self.tasks) == self.size or self._left <= 0:
                    if number < len(listing.items):
                        listing = await self._runs(cursor, number)
                    return listing.next or ""
            if (cursor := listing.next) is None:
                break
        return cursor or ""

    async def _runs(self, cursor: str | None, limit: int) -> Listing[Run]:
        return await self._log.recent(
            status=None if self._state is None else _RUN_STATUSES[self._state],
            limit=limit,
            cursor=cursor,
            owner=owner_filter(self._request),
            waiting=self._state == "input-required",
        )

    async def _add(self, run: Run) -> None:
        params, writer = self._params, writer_of(run, self._rpc, self._version)
        state: TaskState = "input-required" if run.waiting_for is not None else _STATES[run.status]
        if self._state not in (None, state) or params.context_id not in (None, "", writer.ids.context_id):
            return
        changed_at = run.completed_at or await self._last_event_at(run)
        if params.status_timestamp_after is not None and changed_at < params.status_timestamp_after:
            return
        task: Any = writer.task(Status(state, msgspec.json.encode(changed_at)))
        if params.include_artifacts:
            task = {"artifacts": []} | await task_as_it_is(self._request, run, writer)
        encoded = msgspec.json.encode(task)
        self.tasks.append(msgspec.Raw(encoded))
        if params.include_artifacts:
            self._left -= len(encoded)

    async def _last_event_at(self, run: Run) -> datetime:
        try:
            page = await self._log.read(run.run_id, max(run.last_sequence - 1, 0), 1, run.incarnation)
        except RunNotFound:  # it has expired meanwhile
            return run.created_at
        if not page.entries:
            return run.created_at
        return msgspec.json.decode(page.entries[0].data, type=_Fields).timestamp
