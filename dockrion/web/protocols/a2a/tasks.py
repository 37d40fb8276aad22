"""The methods of A2A: a task is a run, its id that of the run.

A task goes on when the connection is lost, as the protocol expects, and `SubscribeToTask` reads on: from a
frame that `Last-Event-ID` names, else from the whole task as it is then.
"""

from typing import Any, NoReturn

import msgspec
from aiohttp import web

from dockrion import ids
from dockrion.backends.run_log import Run
from dockrion.dockfile import Dockfile
from dockrion.errors import InvalidRequest
from dockrion.events import MAX_SEQUENCE
from dockrion.protocols.a2a import errors
from dockrion.protocols.a2a.encoder import Snapshot, StreamEncoder, TaskEncoder
from dockrion.protocols.a2a.objects import Object, Status, TaskIds, Version, Writer
from dockrion.protocols.a2a.requests import (
    Message,
    SendParams,
    TaskParams,
    answer_in,
    conversation_of,
    payload_in,
)
from dockrion.protocols.a2a.updates import UpdateOptions
from dockrion.protocols.conversation import payload_of
from dockrion.protocols.json_rpc import INVALID_PARAMS, Request, RpcError, params_of, result_response
from dockrion.protocols.numbered_frames import Cursor, parse_cursor
from dockrion.web import parameters
from dockrion.web.invoke import run_headers
from dockrion.web.payloads import CONFIG
from dockrion.web.protocols import questions
from dockrion.web.protocols.a2a.access import owned_task, readable_task
from dockrion.web.protocols.a2a.pushes import unchangeable, webhook_url_of
from dockrion.web.protocols.resuming import Resumption, resume, stored_state
from dockrion.web.protocols.starting import start_payload_run
from dockrion.web.protocols.stream import ProtocolStream, final_state_of_new_run, stream_new_run
from dockrion.web.responses import encoded_response
from dockrion.web.service import SERVICE

_CONTEXT = "contextId"  # the field of `Run.protocol` that has what the client calls the conversation


class _SentMessage(msgspec.Struct, frozen=True):
    """A message that was sent to a task.

    Attributes:
        run: The task's run.
        answered: The sequence of the question that it answers, None if the task is new.
        headers: Headers of the response.
        cancel: Whether the run is cancelled when its caller leaves.
    """

    run: Run
    answered: int | None
    headers: dict[str, str]
    cancel: bool


async def send(request: web.Request, rpc: Request, version: Version) -> web.StreamResponse:
    """Send the agent a message, and return the task once it has ended or asks something."""
    params = params_of(rpc, SendParams)
    at_once = params.options.at_once
    sent = await _deliver(request, params, version, cancel=not at_once)
    options = _options(request, sent.run, sent.answered or 0)
    if at_once:
        state = await _stored(request, sent.run, options)
    else:
        state = await final_state_of_new_run(
            request, sent.run, TaskEncoder(options), cancel_on_disconnect=sent.cancel
        )
    writer = writer_of(sent.run, rpc, version)
    return encoded_response(writer.task_response(state.task(writer)), headers=sent.headers)


async def stream(request: web.Request, rpc: Request, version: Version) -> web.StreamResponse:
    """Send the agent a message, and stream the task until it has ended or asks something."""
    cursor = _cursor(request)
    sent = await _deliver(request, params_of(rpc, SendParams), version)
    encoder = _encoder(request, sent.run, rpc, version, sent.answered or 0)
    if sent.answered is None:
        task = encoder.writer.task(Status("submitted", msgspec.json.encode(sent.run.created_at)))
        resumption = Resumption(0, encoder.start(), encoder.opening(task), encoder.start())
    else:
        resumption = await _resumption(request, sent.run, encoder, cursor)
    return await stream_new_run(
        request, sent.run, encoder, resumption, headers=sent.headers, cancel_on_disconnect=sent.cancel
    )


async def get(request: web.Request, rpc: Request, version: Version) -> web.StreamResponse:
    """Return a task as it is now."""
    run = await readable_task(request, params_of(rpc, TaskParams).id)
    return await _task(request, run, rpc, version)


async def cancel(request: web.Request, rpc: Request, version: Version) -> web.StreamResponse:
    """Cancel a task, and return it."""
    service = request.app[SERVICE]
    service.access.require_permission(request, "invoke")
    run = await owned_task(request, params_of(rpc, TaskParams).id)
    try:
        await service.runs.cancel(run.run_id, None, run.incarnation)
    except InvalidRequest:
        raise RpcError(errors.NOT_CANCELABLE, "this task has ended") from None
    return await _task(request, run, rpc, version)


async def subscribe(request: web.Request, rpc: Request, version: Version) -> web.StreamResponse:
    """Stream what follows in a task."""
    cursor = _cursor(request)
    run = await readable_task(request, params_of(rpc, TaskParams).id)
    if run.finished and cursor is None and version == "1.0":  # specification 1.0, 3.1.6
        raise RpcError(errors.UNSUPPORTED_OPERATION, "this task has ended; get it with GetTask")
    answered = MAX_SEQUENCE  # in version 1.0, only the task's end ends the stream
    if version == "0.3":
        answered = await questions.last_answered(request.app[SERVICE].backend, run)
    encoder, ref = _encoder(request, run, rpc, version, answered), run.ref
    resumption = await _resumption(request, run, encoder, cursor, waiting=run.waiting_for is not None)
    del run  # its output may be large
    events = ProtocolStream(request, encoder)
    await events.send_events(ref, resumption)
    return events.response


async def refuse_extended_card(_request: web.Request, _rpc: Request, _version: Version) -> NoReturn:
    raise RpcError(errors.NO_EXTENDED_CARD, "this agent has no other card than the public one")


async def _deliver(
    request: web.Request, params: SendParams, version: Version, *, cancel: bool = True
) -> _SentMessage:
    """Start a task, or answer what one has asked."""
    service, message = request.app[SERVICE], params.message
    service.access.require_permission(request, "invoke")
    webhook_url = webhook_url_of(request, params, version)
    cancel = cancel and parameters.choice(request, "on_disconnect", ("cancel", "continue")) == "cancel"
    if message.task_id:
        if webhook_url is not None:
            raise unchangeable()
        run, answered = await _answer(request, message, message.task_id)
        if cancel:
            service.runs.caller_returned(run.incarnation)
        return _SentMessage(run, answered, run_headers(request, run, replayed=False), cancel)
    service.runs.ready_agent()
    payload, context_id = _payload(service.dockfile, message)
    run, replayed = await start_payload_run(
        request,
        payload,
        protocol={_CONTEXT: context_id} if context_id else {},
        webhook_url=webhook_url,
        cancel_on_disconnect=cancel,
    )
    return _SentMessage(run, None, run_headers(request, run, replayed=replayed), cancel and not replayed)


def _payload(dockfile: Dockfile, message: Message) -> tuple[dict[str, Any], str | None]:
    """Return the payload that a message becomes, and the id of its context, None for the task's id."""
    payload, context_id = payload_in(message), message.context_id
    if payload is None:
        payload = payload_of(conversation_of(message), dockfile.agent.chat_spec, dockfile.io_schema.input)
    if dockfile.agent.takes_config and dockfile.arguments.allow_request_config:
        context_id = context_id or ids.uuid7()
        name = "thread_id" if dockfile.agent.framework == "langgraph" else "session_id"
        payload = {CONFIG: {"configurable": {name: context_id}}} | payload
    return payload, context_id


async def _answer(request: web.Request, message: Message, task_id: str) -> tuple[Run, int]:
    """Answer what a task has asked; return its run, and the sequence of the question.

    Raises:
        RpcError: The task waits for no answer, or the message is none.
        DockrionError: As `questions.answer`.
    """
    run = await owned_task(request, task_id)
    if message.context_id and message.context_id != _ids(run).context_id:
        raise RpcError(INVALID_PARAMS, "this task belongs to another context; leave out contextId")
    waiting = run.waiting_for
    if waiting is None:
        state = "has ended" if run.finished else "is at work and has asked nothing"
        message_text = f"this task {state}; send the message without a taskId, which begins another"
        raise RpcError(errors.UNSUPPORTED_OPERATION, message_text)
    value = answer_in(message, waiting.schema)
    return run, await questions.answer(request, run, waiting.request_id, value)


async def _task(request: web.Request, run: Run, rpc: Request, version: Version) -> web.Response:
    writer = writer_of(run, rpc, version)
    task = writer.result(await task_as_it_is(request, run, writer))
    return encoded_response(result_response(rpc.response_id, task))


async def task_as_it_is(request: web.Request, run: Run, writer: Writer) -> Object:
    """Return a task with all that is known of it."""
    state = await _stored(request, run, _options(request, run, MAX_SEQUENCE))
    return state.task(writer, waiting=run.waiting_for is not None)


async def _stored(request: web.Request, run: Run, options: UpdateOptions) -> Snapshot:
    """Return what is known of a task now."""
    service = request.app[SERVICE]
    async with service.replays:
        return await stored_state(service.backend, run.ref, TaskEncoder(options))


def _cursor(request: web.Request) -> Cursor | None:
    """Return the last frame of the task's stream that the client has, None for none."""
    last_id = request.headers.get("Last-Event-ID")
    return parse_cursor(last_id) if last_id else None


async def _resumption(
    request: web.Request,
    run: Run,
    encoder: StreamEncoder,
    cursor: Cursor | None,
    *,
    waiting: bool = False,
) -> Resumption:
    """Return where a stream goes on: after the cursor, without one with the whole task as it is now.

    Args:
        request: The request.
        run: The run.
        encoder: Encodes its events.
        cursor: The last frame that the client has.
        waiting: Whether the agent waits for an answer.
    """
    service, ref = request.app[SERVICE], run.ref
    async with service.replays:
        if cursor is not None:
            if cursor.sequence > run.last_sequence:  # it has read another run with this id
                cursor = Cursor(0)
            return await resume(service.backend, ref, encoder, cursor.skip)
        found = await resume(service.backend, ref, TaskEncoder(encoder.options), lambda *_: None)
    state: Snapshot = found.state
    opening = encoder.opening(state.task(encoder.writer, waiting=waiting), found.after)
    return Resumption(found.after, state.stream, opening, state.stream)


def _encoder(request: web.Request, run: Run, rpc: Request, version: Version, answered: int) -> StreamEncoder:
    return StreamEncoder(writer_of(run, rpc, version), _options(request, run, answered))


def _options(request: web.Request, run: Run, answered: int) -> UpdateOptions:
    return UpdateOptions(run.run_id, request.app[SERVICE].dockfile.agent.chat_spec.output, answered)


def writer_of(run: Run, rpc: Request, version: Version) -> Writer:
    """Return what writes the objects of a run's task."""
    return Writer(version, _ids(run), rpc.response_id)


def _ids(run: Run) -> TaskIds:
    return TaskIds(run.run_id, (run.protocol or {}).get(_CONTEXT, run.run_id))
