"""`tools/call`: a run of the agent, and what follows after a question."""

from typing import Any

import msgspec
from aiohttp import web

from dockrion.backends.run_log import Run
from dockrion.errors import (
    AgentFailed,
    InvalidRequest,
    PolicyViolation,
    QuestionNotOpen,
    RunNotFound,
    ServiceUnavailable,
)
from dockrion.protocols.json_rpc import INVALID_PARAMS, Id, Request, RpcError, params_of, result_response
from dockrion.protocols.mcp.elicitation import RequestState, answer_in
from dockrion.protocols.mcp.encoder import CallEncoder, CallState
from dockrion.protocols.mcp.envelope import Envelope
from dockrion.protocols.mcp.param_headers import check_param_headers
from dockrion.protocols.mcp.requests import CallParams
from dockrion.protocols.mcp.results import ResultForm, refusal_text
from dockrion.protocols.mcp.tool import input_schema, is_structured, payload_of
from dockrion.web import idempotency, parameters, payloads
from dockrion.web.invoke import cancels_on_disconnect, run_headers
from dockrion.web.protocols import questions
from dockrion.web.protocols.resuming import Resumption, resume
from dockrion.web.protocols.stream import final_state_of_new_run, stream_new_run
from dockrion.web.responses import encoded_response
from dockrion.web.run_start import start_run
from dockrion.web.service import SERVICE
from dockrion.wire import sse

_JSON = "application/json"
_MISMATCH = "the arguments do not match the tool's inputSchema:"


async def call_tool(
    request: web.Request, message: Request, envelope: Envelope, form: ResultForm
) -> web.StreamResponse:
    """Answer a call: start a run, or answer what one has asked; send its progress, and its result.

    Args:
        request: The caller's HTTP request.
        message: The request in it.
        envelope: What it says of its client.
        form: What its result looks like.
    """
    service = request.app[SERVICE]
    params = params_of(message, CallParams)
    if params.name != service.dockfile.agent.name:
        known = service.dockfile.agent.name
        raise RpcError(INVALID_PARAMS, f"unknown tool {params.name!r:.100}; the tool is {known}")
    if not envelope.handshake:
        schema = input_schema(service.dockfile.io_schema.input)
        check_param_headers(schema, params.arguments or {}, lambda name: request.headers.getall(name, []))
    media_type = parameters.preferred_media_type(request, (sse.MEDIA_TYPE, _JSON))
    call = _Call(request, message, envelope, form, params, media_type == sse.MEDIA_TYPE)
    if params.request_state is not None and not envelope.handshake:
        return await call.go_on(RequestState.parse(params.request_state))
    return await call.start()


class _Call(msgspec.Struct, frozen=True):
    """A call of the tool; see `call_tool`.

    Attributes:
        params: The parameters.
        streamed: Whether the response is a stream.
    """

    request: web.Request
    message: Request
    envelope: Envelope
    form: ResultForm
    params: CallParams
    streamed: bool

    @property
    def id(self) -> Id:
        return self.message.response_id

    async def start(self) -> web.StreamResponse:
        """Start a run for it, unless an equal request has done so."""
        request, service = self.request, self.request.app[SERVICE]
        service.runs.ready_agent()
        cancel = cancels_on_disconnect(request)
        key = idempotency.key_of(request)
        try:
            payload = payload_of(self.params.arguments or {}, service.dockfile.io_schema.input)
            call = await payloads.decoded_call(request, msgspec.json.encode(payload))
        except (InvalidRequest, PolicyViolation, AgentFailed) as error:
            text = service.redactor.mask(refusal_text(error, _MISMATCH))
            return encoded_response(result_response(self.id, self.form.failure(text)))
        run, replayed = await start_run(request, call, key=key, cancel_on_disconnect=cancel)
        answered = await questions.last_answered(service.backend, run) if replayed else 0
        encoder = self._encoder(run, answered)
        return await self._respond(run, encoder, replayed=replayed, cancel=cancel and not replayed)

    async def go_on(self, state: RequestState) -> web.StreamResponse:
        """Answer what its run has asked, if there is an answer."""
        request, service = self.request, self.request.app[SERVICE]
        cancel = cancels_on_disconnect(request)
        run = await service.access.owned_run(request, state.run_id)
        if run.incarnation != state.incarnation:
            raise RunNotFound(state.run_id)
        resumption, problem = None, ""
        try:
            answered = await self._answer(run)
        except InvalidRequest as error:  # a person who has mistyped is asked again
            answered, problem = None, service.redactor.mask(refusal_text(error, "the answer does not match:"))
        if answered is None:
            encoder = self._encoder(run, await questions.last_answered(service.backend, run), problem)
        else:
            encoder = self._encoder(run, answered)
            resumption = await self._resumption(run, encoder)
        if cancel:
            service.runs.caller_returned(run.incarnation)
        return await self._respond(run, encoder, resumption, cancel=cancel)

    async def _answer(self, run: Run) -> int | None:
        """Answer a question, or cancel the run if nobody does.

        Returns:
            The question's sequence, None if there is no answer.
        """
        if not self.params.input_responses:
            return None
        ((request_id, response),) = self.params.input_responses.items()
        if response.action != "accept":
            return await questions.answer(self.request, run, request_id, None, declined=True)
        waiting = run.waiting_for
        if waiting is None or waiting.request_id != request_id:
            raise QuestionNotOpen(request_id)
        value = answer_in(response.content or {}, waiting.schema, self._decode)
        return await questions.answer(self.request, run, request_id, value)

    def _decode(self, data: bytes) -> Any:
        return payloads.decode_json(data, self.request.app[SERVICE].dockfile.limits.max_json_depth)

    async def _respond(
        self,
        run: Run,
        encoder: CallEncoder,
        resumption: Resumption | None = None,
        *,
        replayed: bool = False,
        cancel: bool,
    ) -> web.StreamResponse:
        request = self.request
        headers = run_headers(request, run, replayed=replayed)
        if self.streamed:
            return await stream_new_run(
                request, run, encoder, resumption, headers=headers, cancel_on_disconnect=cancel
            )
        final = await final_state_of_new_run(request, run, encoder, cancel_on_disconnect=cancel)
        if final.response is None:
            raise ServiceUnavailable("this run is no longer stored; send the request again")
        return encoded_response(final.response, headers=headers)

    async def _resumption(self, run: Run, encoder: CallEncoder) -> Resumption:
        """Return where the stream goes on: after the question that is answered."""
        service = self.request.app[SERVICE]

        def skip(_before: CallState, _after: CallState, sequence: int) -> int | None:
            return None if sequence <= encoder.answered else 0

        async with service.replays:
            return await resume(service.backend, run.ref, encoder, skip)

    def _encoder(self, run: Run, answered: int, problem: str = "") -> CallEncoder:
        dockfile = self.request.app[SERVICE].dockfile
        meta = self.params.meta
        return CallEncoder(
            self.id,
            str(RequestState(run.run_id, run.incarnation)),
            self.form,
            None if meta is None or not self.streamed else meta.progress_token,
            is_structured(dockfile.io_schema),
            dockfile.agent.chat_spec.output,
            self.envelope.elicits,
            answered,
            problem,
        )
