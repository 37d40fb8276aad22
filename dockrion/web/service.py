"""The composition root: one running service, built from its Dockfile."""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from aiohttp import web

from dockrion import ids
from dockrion.agents.id_generator import CustomIdGenerator
from dockrion.agents.lifespan import Lifespan
from dockrion.agents.loading import (
    guard_tools,
    load_agent,
    load_id_generator,
    load_types,
)
from dockrion.backends import Backend
from dockrion.backends.work_queue import TakenRun
from dockrion.dockfile import Dockfile, Loaded
from dockrion.errors import StartError
from dockrion.json_schema import Schema
from dockrion.logs import log
from dockrion.metrics import LoopLag, Metrics
from dockrion.redaction import Redactor
from dockrion.runs.agent import Agent, Call
from dockrion.runs.answers import Answers
from dockrion.runs.execution import STOP_SECONDS
from dockrion.runs.manager import RunManager
from dockrion.runs.owner_requests import OwnerRequests
from dockrion.runs.stored_input import input_mask
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.web import optional_parts
from dockrion.web.access import AccessControl
from dockrion.web.backend_factory import create_backend
from dockrion.web.cross_origin import CrossOriginProtection
from dockrion.web.limits import ConnectionLimiter, RequestRateLimiter
from dockrion.web.open_streams import OpenStreams
from dockrion.web.readiness import Readiness
from dockrion.web.reload_mode import ReloadMode
from dockrion.web.run_settings import run_settings

if TYPE_CHECKING:
    from dockrion.agents.handler_types import HandlerTypes
    from dockrion.agents.json_types import JsonType

_logger = logging.getLogger(__name__)
_STREAM_END_SECONDS = 5.0
_WRITE_SECONDS = 30.0
Role = Literal["api", "worker", "all"]  # what a process serves: the API, agents at work, or both


class Service:
    """One agent being served, and everything that its routes share.

    `__init__` builds the parts in order of dependency: the storage backend, the run manager on it,
    what accepts pushed events, then authorization and limits. It must run on the event loop that serves.
    The agent itself is loaded in the background (`loading`), so that `/health` answers meanwhile.
    `drain` ends the work; `aclose` then closes the parts, users of the backend before it and the agent last.

    Args:
        loaded: The Dockfile, validated.
        role: What this process serves.
        reload: What is different because the service is restarted at each change of its files.

    Attributes:
        dockfile: The Dockfile; once the agent is loaded, with the schemas that its annotations declare.
        role: As given.
        reload: As given.
        address: Where it listens: the path of a unix socket, or host and port; None if that is unknown.
        tracing: Where spans go; None unless the Dockfile asks for traces.
        request_spans: Makes those of requests; None likewise.
        unknown_fields: The Dockfile's unknown fields, by their path.
        input_schema: `io_schema.input`, None if there is none.
        input_mask: Masks what is not to be shown of inputs, besides secrets; None if that is nothing.
        payload_type: What payloads are converted to; None if they are passed to the agent as decoded JSON.
        owner_requests: Reaches the owners of other replicas' runs.
        webhooks: Tells other services of events; None unless the Dockfile names any.
        answers: Passes on the answers to what agents ask.
        ingest: Accepts events from other processes; None unless `streaming.ingest` is enabled.
        push_access: Decides which processes those are; None likewise.
        proxies: Learns whom proxies forward requests for; None if there are none.
        cross_origin: Refuses what pages of other origins send.
        find_injections: Finds prompt injection in a payload; None unless the Dockfile blocks it.
        streams: The streams that are open.
        invocations: The invocations whose callers wait for what another replica does.
        replays: Limits how many logs are encoded from their beginning at a time, to find where readers are.
        readiness: Tells whether work is accepted, and the state of what is needed for that.
        scrapes: Limits how many expositions of metrics are written at a time, each in a thread.
        write_seconds: How long a peer may accept no data before its connection is closed.
        loading: Ends when the agent is loaded; raises `StartError` if it cannot be.
    """

    def __init__(self, loaded: Loaded, role: Role = "all", reload: ReloadMode | None = None) -> None:
        self.dockfile: Dockfile = loaded.dockfile
        self.unknown_fields = loaded.unknown
        self.role = role
        self.address: str | tuple[str, int] | None = None
        self.reload = reload
        self.redactor = Redactor(loaded.confidential)
        self.tracing = optional_parts.tracing(loaded, self.redactor)
        self.request_spans = optional_parts.request_spans(self.tracing)
        masks = self._mask_input, self._mask_output
        tracer = optional_parts.run_tracer(self.tracing, loaded, self.redactor, masks)
        shown = self.dockfile.observability.metrics
        self.metrics = Metrics(self.dockfile.agent.name, latency=shown.latency, tokens=shown.tokens)
        self.input_schema = self._schema(self.dockfile.io_schema.input)
        self._output_policy = optional_parts.output_policy(self.dockfile, self.metrics)
        self.input_mask = input_mask(self.dockfile.io_schema.input, self._output_policy)
        self.payload_type: JsonType | None = None

        on_denied = partial(self.metrics.count_policy_hit, "tool")
        self._tools = ToolPolicy(self.dockfile.allowed_tools, on_denied)
        settings = run_settings(
            self.dockfile, self._output_schema(), self._output_policy, self._tools, runs_agents=role != "api"
        )
        self.events_filter = settings.events_filter

        self.webhooks = optional_parts.webhooks(loaded)
        copying = None if self.webhooks is None else self.webhooks.targets.copies
        self.backend: Backend = create_backend(self.dockfile, self.metrics, copying, tracer)
        self.runs = RunManager(
            settings, self.backend, self.metrics, self.redactor, self._rebuilt_call, tracer
        )
        self.owner_requests = OwnerRequests(self.backend)
        self.answers = Answers(self.runs.find, self.backend, self.owner_requests)
        self.ingest = optional_parts.ingest(
            self.dockfile, self.runs.find, self.backend, self.owner_requests, self.redactor, self._tools
        )
        self.push_access = optional_parts.push_access(loaded, self.backend)

        auth = self.dockfile.auth
        self.proxies = optional_parts.proxies(self.dockfile.expose)
        self.cross_origin = CrossOriginProtection(self.dockfile.expose)
        self.access = AccessControl(auth, optional_parts.authenticator(loaded), self.backend)
        self.rate_limiter = RequestRateLimiter(auth, self.backend)
        self.connection_limiter = ConnectionLimiter(
            self.dockfile.limits.max_connections_per_caller, self.dockfile.expose.root_path
        )
        self.find_injections = optional_parts.injection_finder(self.dockfile)

        if self.webhooks is not None and self.backend.outbox is not None:
            self.webhooks.start(self.backend.outbox, self.metrics)
        self.streams = OpenStreams()
        self.invocations = OpenStreams()
        self.replays = asyncio.Semaphore(4)
        self.scrapes = asyncio.Semaphore(2)
        self.write_seconds = _WRITE_SECONDS
        self.readiness = Readiness(self)
        self._loop_lag = LoopLag(self.metrics.observe_loop_lag)
        self._custom_ids: CustomIdGenerator | None = None
        self._lifespan: Lifespan | None = None
        loading = self._load(loaded) if reload is None else self._load_or_explain(loaded, reload)
        self.loading = asyncio.create_task(loading, name="dockrion-load")

    async def _load(self, loaded: Loaded) -> None:
        folder = loaded.path.parent
        self._tools.enforce()
        await guard_tools(self.dockfile, folder)
        token = loaded.credentials.agent_token
        self._lifespan = Lifespan(partial(load_agent, self.dockfile, folder, token=token))
        agent = await self._lifespan.agent()
        self._use_types(await load_types(agent, self.dockfile))
        self._custom_ids = await load_id_generator(self.dockfile, folder)
        await self.backend.check_start()
        self.runs.agent = agent
        self.readiness.loaded()
        log(_logger, logging.INFO, "agent loaded", target=self.dockfile.agent.target)

    async def _load_or_explain(self, loaded: Loaded, reload: ReloadMode) -> None:
        """Load the agent; if that is impossible, say why to whoever asks for it."""
        try:
            if reload.refused is not None:
                raise reload.refused
            await self._load(loaded)
        except StartError as error:
            self.runs.unavailable = reload.reason(error)
            self.readiness.not_loaded()
            log(_logger, logging.ERROR, "agent cannot be loaded", reason=str(error), error=error.__cause__)

    def _use_types(self, types: "HandlerTypes") -> None:
        for problem in types.problems:
            log(_logger, logging.WARNING, problem)
        self.dockfile = msgspec.structs.replace(self.dockfile, io_schema=types.io_schema)
        self.input_schema = self.input_schema or self._schema(types.io_schema.input)
        self.input_mask = input_mask(self.dockfile.io_schema.input, self._output_policy)
        self.payload_type = types.payload
        self.runs.validate_outputs(self._output_schema())

    @property
    def takes_threads(self) -> bool:
        """Whether requests can name the thread that their run continues."""
        agent = self.runs.agent
        return agent is not None and agent.keeps_threads and self.dockfile.arguments.allow_request_config

    async def new_run_id(self) -> str:
        """Return an id for a run whose caller chose none.

        Raises:
            DockrionError: The Dockfile's id generator failed.
        """
        return ids.uuid7() if self._custom_ids is None else await self._custom_ids.new()

    @property
    def lifespan_broken(self) -> bool:
        """Whether the agent is closed although the service needs it."""
        return self._lifespan is not None and self._lifespan.broken

    async def drain(self, grace: float) -> None:
        """End all runs and every stream.

        Args:
            grace: How long runs may go on, in seconds; in an API process, streams and invocations.
        """
        self.readiness.draining()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + grace
        await self.runs.drain(grace)
        await self.invocations.end(max(ends_at - loop.time(), _STREAM_END_SECONDS))
        left = ends_at - loop.time() if self.role == "api" else 0.0
        await self.streams.end(max(left, _STREAM_END_SECONDS))

    async def aclose(self) -> None:
        """Close every part, after `drain`."""
        self.loading.cancel()
        await asyncio.wait((self.loading,), timeout=STOP_SECONDS)
        await self.runs.aclose()
        await self.owner_requests.aclose(STOP_SECONDS)
        if self.webhooks is not None:
            await self.webhooks.aclose()
        await self.access.aclose()
        await self.backend.aclose()
        if self._lifespan is not None:
            await self._lifespan.aclose()
        self._tools.close()
        self._loop_lag.stop()
        if self.tracing is not None:
            await self.tracing.aclose()

    @property
    def keeps_bodies(self) -> bool:
        """Whether another replica may work on what is received here."""
        return self.backend.queue is not None

    async def _rebuilt_call(self, taken: TakenRun) -> tuple[Agent | None, Call]:
        from dockrion.web.rebuilt_calls import rebuilt_call  # noqa: PLC0415  it imports this module

        return await rebuilt_call(self, taken)

    def _mask_input(self, payload: Any) -> Any:
        return payload if self.input_mask is None else self.input_mask.uncounted().mask(payload)

    def _mask_output(self, value: Any) -> Any:
        policy = self._output_policy
        return value if policy is None else policy.uncounted.new_filter().mask(value)

    def _schema(self, schema: dict[str, Any] | None) -> Schema | None:
        return None if schema is None else Schema(schema, self.redactor)

    def _output_schema(self) -> Schema | None:
        io_schema = self.dockfile.io_schema
        return self._schema(io_schema.output) if io_schema.strict else None


SERVICE = web.AppKey("service", Service)
