"""What the endpoints of runs are for."""

from typing import Any, get_args

from dockrion import errors, ids
from dockrion.backends.run_log import Status
from dockrion.dockfile import Dockfile
from dockrion.events import MAX_REASON_LENGTH
from dockrion.openapi import examples, media
from dockrion.openapi.error_responses import Kinds
from dockrion.openapi.operation import Answer, Operation, flag, one, query, whole
from dockrion.openapi.operations_invoke import about_input, starting
from dockrion.openapi.schemas import ref

RUN_ID = {"type": "string", "pattern": f"^{ids.RUN_ID_PATTERN.pattern}$"}
_STATUS = {"type": "string", "enum": [*get_args(Status)]}
_REASON = {"type": "string", "maxLength": MAX_REASON_LENGTH}
_LOOKUP: Kinds = (errors.RunNotFound, errors.ServiceUnavailable)


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return their operations, by method and path."""
    listing = {"schema": ref("RunList"), "example": examples.listing(dockfile)}
    run = {"schema": ref("Run"), "example": examples.run(dockfile)}
    return {
        "POST /runs": _start(dockfile),
        "GET /runs": Operation(
            tag="runs",
            summary="List runs, newest first",
            description="Runs come without their outputs. There are more while `next` is not null.",
            parameters=[
                query("status", "Only runs in this status.", _STATUS),
                query("limit", "How many runs at most.", whole(1, 500, 100)),
                query("cursor", "The `next` of an earlier answer.", {"type": "string"}),
            ],
            answers={200: Answer("Some runs.", {media.JSON: listing})},
            errors=(errors.ServiceUnavailable,),
        ),
        "GET /runs/{run_id}": Operation(
            tag="runs",
            summary="Look at a run",
            answers={200: Answer("The run.", {media.JSON: run})},
            errors=_LOOKUP,
        ),
        "DELETE /runs/{run_id}": Operation(
            tag="runs",
            summary="Cancel a run",
            parameters=[query("reason", "Why; readers are told.", _REASON)],
            answers={200: one(examples.CANCELLED, "The agent has stopped.")},
            errors=_LOOKUP,
        ),
        "POST /runs/{run_id}/token": Operation(
            tag="runs",
            summary="Get one more token for the run's events",
            answers={200: one(examples.EVENTS_TOKEN, "The token.")},
            errors=_LOOKUP,
        ),
    }


def strangers(dockfile: Dockfile) -> Kinds:
    """Return how those are refused who may not feed runs, where callers need not say who they are."""
    if dockfile.protected:
        return ()
    return (errors.Forbidden,) if dockfile.streaming.ingest.token_env is None else (errors.Unauthorized,)


def _start(dockfile: Dockfile) -> Operation:
    streaming = dockfile.streaming
    parameters: list[dict[str, Any]] = []
    kinds = [*starting(dockfile)]
    if streaming.allow_client_ids:
        parameters.append(query("run_id", "The run's id, of the caller's choice.", RUN_ID))
    if streaming.allow_client_ids or streaming.id_generator.type == "custom":
        kinds.append(errors.RunExists)
    if streaming.ingest.enabled:
        parameters.append(query("external", "The run is fed by others; there is no body then.", flag()))
        kinds += strangers(dockfile)
    accepted = one(examples.accepted(dockfile), "The run goes on by itself.", {"Location": "The run."})
    return Operation(
        tag="runs",
        summary="Start a run",
        description=about_input(dockfile),
        parameters=parameters,
        body=media.agent_input(dockfile, "/runs"),
        body_required=not streaming.ingest.enabled,
        answers={202: accepted},
        errors=kinds,
    )
