"""Requests of a protocol: reading them, and starting the runs that they ask for."""

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from dockrion.backends.run_log import Run
from dockrion.errors import InvalidRequest
from dockrion.json_schema import MAX_MESSAGE, Violation
from dockrion.protocols.conversation import Conversation, payload_of
from dockrion.web import idempotency, payloads
from dockrion.web.run_start import start_run
from dockrion.web.service import SERVICE

T = TypeVar("T", bound=msgspec.Struct)


async def read_request(request: web.Request, kind: type[T]) -> T:
    """Read the body of a request. Fields that the struct does not have are ignored.

    Args:
        request: The request.
        kind: The struct that it is converted to.

    Raises:
        UnsupportedMediaType: It is not JSON.
        InvalidRequest: It is empty or malformed, or does not match the struct.
    """
    body, _ = await read_request_and_fields(request, kind)
    return body


async def read_request_and_fields(request: web.Request, kind: type[T]) -> tuple[T, dict[str, Any]]:
    """Read the body of a request as `read_request` does; return also all its fields."""
    body, _ = await payloads.read_json(request)
    try:
        converted = msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        found = _violation(error)
        problem = f"the body is not a valid request: {found.message} - at `{found.path}`"
        raise InvalidRequest(problem, details=[found]) from None
    return converted, body


async def start_conversation_run(
    request: web.Request,
    conversation: Conversation,
    *,
    protocol: dict[str, Any] | None = None,
    run_id: str | None = None,
    webhook_url: str | None = None,
    cancel_on_disconnect: bool,
) -> tuple[Run, bool]:
    """Start the run that answers a conversation; a repeated `Idempotency-Key` finds the first one's run.

    Args:
        request: The caller's request.
        conversation: What it asks for.
        protocol: What the protocol needs to encode the run's events, kept with its record; small.
        run_id: The id that the caller chose, validated; None if the service chooses one.
        webhook_url: Where the caller wants to be told how the run ends, validated; None for nowhere.
        cancel_on_disconnect: Cancel the run if the caller disconnects before this returns.

    Returns:
        Its record, and whether it was started by an earlier request.

    Raises:
        DockrionError: As `payloads.decoded_call` and `start_run`.
    """
    service = request.app[SERVICE]
    service.runs.ready_agent()
    dockfile = service.dockfile
    payload = payload_of(conversation, dockfile.agent.chat_spec, dockfile.io_schema.input)
    return await start_payload_run(
        request,
        payload,
        protocol=protocol,
        run_id=run_id,
        webhook_url=webhook_url,
        cancel_on_disconnect=cancel_on_disconnect,
    )


async def start_payload_run(
    request: web.Request,
    payload: Any,
    *,
    protocol: dict[str, Any] | None = None,
    run_id: str | None = None,
    webhook_url: str | None = None,
    cancel_on_disconnect: bool,
) -> tuple[Run, bool]:
    """Start a run as `start_conversation_run` does, with a payload that is not made of a conversation."""
    request.app[SERVICE].runs.ready_agent()
    key = idempotency.key_of(request)
    call = await payloads.decoded_call(request, msgspec.json.encode(payload))
    call = msgspec.structs.replace(call, protocol=protocol, webhook_url=webhook_url)
    return await start_run(request, call, run_id=run_id, key=key, cancel_on_disconnect=cancel_on_disconnect)


def _violation(error: msgspec.ValidationError) -> Violation:
    """Return what is wrong with a body; the value that is, which the message may repeat, can be megabytes."""
    message, _, path = str(error).rpartition(" - at `")
    if not message:
        message, path = path, "$"
    return Violation(path.removesuffix("`"), message[:MAX_MESSAGE])
