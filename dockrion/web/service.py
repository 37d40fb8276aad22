"""What the routes share: the parts of one running service."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from dockrion import ids
from dockrion.agents.id_generator import CustomIds
from dockrion.agents.loading import load_agent, load_ids
from dockrion.auth.authenticator import Authenticator
from dockrion.backends import Backend
from dockrion.backends.memory import MemoryBackend
from dockrion.dockfile import Dockfile, Loaded
from dockrion.dockfile.safety_structs import PoliciesSpec
from dockrion.events import EventFilter
from dockrion.json_schema import Schema, Violation
from dockrion.logs import log
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs.execution import STOP_SECONDS
from dockrion.runs.manager import RunManager
from dockrion.runs.recorder import RunSettings
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.web.access import Access
from dockrion.web.limits import Connections
from dockrion.web.rate_limits import Rates

if TYPE_CHECKING:
    from dockrion.policies.output_redaction import OutputPolicy
    from dockrion.runs.ingest import Ingest

_logger = logging.getLogger(__name__)
_UNREACHABLE_SECONDS = 60.0  # how long runs are kept that no endpoint shows
_STREAM_END_SECONDS = 5.0
_WRITE_SECONDS = 30.0


class OpenStreams:
    """Knows the deadline of every open stream, to end them when the service ends."""

    def __init__(self) -> None:
        self._deadlines: set[asyncio.Timeout] = set()
        self._none = asyncio.Event()
        self._none.set()

    def add(self, deadline: asyncio.Timeout) -> None:
        """Know a stream's deadline, until it is removed."""
        self._deadlines.add(deadline)
        self._none.clear()

    def remove(self, deadline: asyncio.Timeout) -> None:
        self._deadlines.discard(deadline)
        if not self._deadlines:
            self._none.set()

    async def end(self, patience: float) -> None:
        """Wait for streams to end with their runs, then let the time of the rest be over.

        Args:
            patience: How long to wait, in seconds.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._none.wait()
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(now)


class Service:
    """One agent being served. Made on the event loop that serves it.

    Args:
        loaded: The Dockfile, checked.

    Attributes:
        dockfile: What was asked for.
        loading: Done when the agent is loaded; raises `StartError` when it cannot be.
        streams: Those open now.
        connections: Counts what each caller has open.
        ingest: Takes what other processes push; there where `streaming.ingest` is enabled.
        phrasings: Finds what is refused in a body; None where nothing is.
        access: Tells who gets in.
        rates: How often.
        write_seconds: How long a reader may take nothing before its connection is closed.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.dockfile: Dockfile = loaded.dockfile
        self.unknown = loaded.unknown
        self.redactor = Redactor(loaded.confidential)
        self.metrics = Metrics()
        self.events_filter = EventFilter(self.dockfile.streaming.events.allowed)
        self.input_schema = self._schema(self.dockfile.io_schema.input)
        self.backend: Backend = _backend(self.dockfile)
        self.runs = RunManager(self._run_settings(), self.backend, self.metrics, self.redactor)
        if self.dockfile.streaming.ingest.enabled:
            self.ingest = self._ingest()
        self.phrasings = _phrasings(self.dockfile.policies)
        self.access = Access(
            self.dockfile.auth, _authenticator(loaded), self.backend, loaded.credentials.ingest_token
        )
        self.rates = Rates(self.dockfile.auth, self.backend)
        self.streams = OpenStreams()
        self.connections = Connections(self.dockfile.limits.max_connections_per_caller)
        self.write_seconds = _WRITE_SECONDS
        self._custom_ids: CustomIds | None = None
        self._directory = loaded.path.parent
        self.loading = asyncio.create_task(self._load(), name="dockrion-load")

    async def new_run_id(self) -> str:
        """Return an id for a run whose caller named none.

        Raises:
            DockrionError: The Dockfile's own generator failed.
        """
        return ids.uuid7() if self._custom_ids is None else await self._custom_ids.new()

    async def check_ready(self) -> None:
        """Return if new work can be taken.

        Raises:
            ServiceUnavailable: It cannot; the message says why.
        """
        agent = self.runs.ready_agent()
        await self.backend.ping()
        await agent.check()

    async def drain(self, grace: float) -> None:
        """End all work and every stream.

        Args:
            grace: Seconds that running agents get to end by themselves.
        """
        await self.runs.drain(grace)
        await self.streams.end(_STREAM_END_SECONDS)

    async def aclose(self) -> None:
        """Release everything."""
        self.loading.cancel()
        await asyncio.wait((self.loading,), timeout=STOP_SECONDS)
        await self.runs.aclose()
        if self.dockfile.streaming.ingest.enabled:
            await self.ingest.aclose()
        await self.access.aclose()
        await self.backend.aclose()
        if self.runs.agent is not None:
            await self.runs.agent.aclose()

    async def _load(self) -> None:
        agent = await load_agent(self.dockfile, self._directory)
        self._custom_ids = await load_ids(self.dockfile, self._directory)
        self.runs.agent = agent
        log(_logger, logging.INFO, "agent loaded", target=self.dockfile.agent.target)

    def _ingest(self) -> "Ingest":
        from dockrion.runs.ingest import Ingest  # noqa: PLC0415  as the backend below

        limits = self.dockfile.limits
        return Ingest(self.runs.find, self.backend, self.redactor, max_event_bytes=limits.max_event_bytes)

    def _schema(self, schema: dict[str, Any] | None) -> Schema | None:
        return None if schema is None else Schema(schema, self.redactor)

    def _run_settings(self) -> RunSettings:
        streaming, io_schema = self.dockfile.streaming, self.dockfile.io_schema
        return RunSettings(
            agent_name=self.dockfile.agent.name,
            framework=self.dockfile.agent.framework or "",
            events_filter=self.events_filter,
            output_schema=self._schema(io_schema.output) if io_schema.strict else None,
            max_run_duration=streaming.events.max_run_duration,
            max_concurrent_runs=streaming.max_concurrent_runs,
            max_queued_runs=streaming.max_queued_runs,
            max_stored_events=streaming.redis.max_events_per_run,
            streamed=self.dockfile.expose.streaming != "none",
            max_event_bytes=self.dockfile.limits.max_event_bytes,
            max_emitted_events=self.dockfile.limits.max_events_per_run,
            output_policy=_output_policy(self.dockfile.policies),
            tools=ToolPolicy(self.dockfile.allowed_tools),
        )


SERVICE = web.AppKey("service", Service)
RUN_ID = web.RequestKey("run_id", str)  # for the request's log line


def _authenticator(loaded: Loaded) -> Authenticator | None:
    auth = loaded.dockfile.auth
    if auth is None or not loaded.dockfile.protected:
        return None
    from dockrion.auth.factory import create_authenticator  # noqa: PLC0415  as the backend below

    return create_authenticator(auth, loaded.credentials)


def _phrasings(policies: PoliciesSpec | None) -> Callable[[Any], list[Violation]] | None:
    if policies is None or policies.safety is None or not policies.safety.block_prompt_injection:
        return None
    from dockrion.policies.injection import found  # noqa: PLC0415  as the backend below

    return found


def _output_policy(policies: PoliciesSpec | None) -> "OutputPolicy | None":
    spec = None if policies is None else policies.safety
    if spec is None or not (spec.redact_patterns or spec.max_output_chars):
        return None
    from dockrion.policies.output_redaction import OutputPolicy  # noqa: PLC0415  as the backend below

    return OutputPolicy(
        spec.redact_patterns,
        max_output_chars=spec.max_output_chars,
        halt_on_violation=spec.halt_on_violation,
    )


def _backend(dockfile: Dockfile) -> Backend:
    streaming, keep = dockfile.streaming, dockfile.streaming.redis
    if streaming.backend == "redis":
        # Those who do not use it are not to wait for it, nor to give it 14 MiB.
        from dockrion.backends.redis import RedisBackend  # noqa: PLC0415

        return RedisBackend(
            keep.url,
            agent=dockfile.agent.name,
            max_events=keep.max_events_per_run,
            ttl=keep.stream_ttl_seconds,
            max_run_duration=streaming.events.max_run_duration,
            pool_size=keep.connection_pool_size,
        )
    ttl = keep.stream_ttl_seconds if streaming.async_runs else _UNREACHABLE_SECONDS
    return MemoryBackend(max_events=keep.max_events_per_run, ttl=ttl)
