"""What agents ask, as interrupts of AG-UI: a run that asks has finished, and the next one has the answer.

The id of an interrupt is that of the run of this service, a colon, and the question's `request_id`.
"""

from aiohttp import web

from dockrion.backends.run_log import Run
from dockrion.errors import InvalidRequest
from dockrion.ids import RUN_ID_PATTERN
from dockrion.protocols.ag_ui.requests import ResumeEntry
from dockrion.web.protocols import questions
from dockrion.web.service import SERVICE


async def owned_run(request: web.Request, entry: ResumeEntry) -> Run:
    """Return the run that has asked what is answered.

    Args:
        request: The caller's request.
        entry: The answer.

    Raises:
        InvalidRequest: It is not for a run of this service.
        RunNotFound: There is no such run, or it belongs to another caller.
        Forbidden: The caller may not change it.
    """
    run_id = entry.interrupt_id.partition(":")[0]
    if not RUN_ID_PATTERN.fullmatch(run_id):
        raise InvalidRequest("resume: the interruptId must be one with which a run of this service finished")
    return await request.app[SERVICE].access.owned_run(request, run_id)


async def answer(request: web.Request, run: Run, entry: ResumeEntry) -> int:
    """Answer what a run has asked, or cancel the run; see `questions.answer`."""
    request_id = entry.interrupt_id.partition(":")[2]
    return await questions.answer(
        request, run, request_id, entry.payload, declined=entry.status == "cancelled"
    )
