"""Whose tasks: those that the caller of a request may read, or change."""

from aiohttp import web

from dockrion.backends.run_log import Run
from dockrion.ids import RUN_ID_PATTERN
from dockrion.protocols.a2a.errors import TASK_NOT_FOUND
from dockrion.protocols.json_rpc import RpcError
from dockrion.web.service import SERVICE


async def readable_task(request: web.Request, task_id: str) -> Run:
    """Return the run that is a task; see `AccessControl.readable_run`."""
    return await request.app[SERVICE].access.readable_run(request, _run_id(task_id))


async def owned_task(request: web.Request, task_id: str) -> Run:
    """Return the run that is a task which the caller may change; see `AccessControl.owned_run`."""
    return await request.app[SERVICE].access.owned_run(request, _run_id(task_id))


def _run_id(task_id: str) -> str:
    if not RUN_ID_PATTERN.fullmatch(task_id):
        raise RpcError(TASK_NOT_FOUND, "there is no such task")
    return task_id
