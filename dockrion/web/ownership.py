"""Runs as their callers see them: one's own, others' for those who may read logs, and no more."""

from aiohttp import web

from dockrion.backends.run_log import Run
from dockrion.caller import Caller
from dockrion.errors import Forbidden, RunNotFound
from dockrion.web import payloads
from dockrion.web.access import CALLER
from dockrion.web.service import SERVICE


async def readable(request: web.Request) -> Run:
    """Return the run of the path.

    Raises:
        RunNotFound: No such run, or it is another's.
    """
    run = await request.app[SERVICE].backend.get(payloads.run_id(request))
    caller = request[CALLER]  # None: nobody is asked, or a token for this very run was sent
    if caller is not None and run.owner != caller.owner and not reads_all(caller):
        raise RunNotFound(run.run_id)
    return run


async def refuse_others(request: web.Request) -> None:
    """Return if the caller may change the run of the path.

    Raises:
        RunNotFound: No such run, or it is another's.
        Forbidden: It is another's, and the caller may only read it.
    """
    caller = request[CALLER]
    if caller is not None and (await readable(request)).owner != caller.owner:
        raise Forbidden("this run is another's: your role lets you read it, not change it")


def listed_owner(request: web.Request) -> str | None:
    """Return whose runs the caller may list, None for everybody's."""
    caller = request[CALLER]
    return None if caller is None or reads_all(caller) else caller.owner


def reads_all(caller: Caller) -> bool:
    return "read_logs" in caller.permissions
