"""The section of runs, their events and where both are stored: `streaming`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from dockrion.dockfile.annotations import Callable, EnvVar, NonEmpty, doc, matching

DEFAULT_REDIS_URL = "${REDIS_URL}"

KeyPrefix = Annotated[
    str,
    matching(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", "a letter or digit, then up to 63 of these, _, ., : and -"),
]


class IdGeneratorSpec(Struct, frozen=True):
    type: Annotated[Literal["uuid", "custom"], doc("Source of run ids.")] = "uuid"
    handler: Annotated[Callable | None, doc("Function that returns a run id; required with custom.")] = None


class EventsSpec(Struct, frozen=True):
    allowed: Annotated[
        str | list[str] | None,
        doc("A preset (minimal, chat, debug, all) or a list of event types to deliver; null delivers all."),
    ] = None
    heartbeat_interval: Annotated[
        int, Meta(ge=1, le=300), doc("Seconds without an event after which a stream sends a heartbeat.")
    ] = 15
    max_run_duration: Annotated[int, Meta(ge=1, le=86400), doc("Seconds until a run is stopped.")] = 3600
    waiting_counts: Annotated[
        bool, doc("Whether `max_run_duration` includes the time in which an agent waits for an answer.")
    ] = True


class ConnectionSpec(Struct, frozen=True):
    default_timeout: Annotated[int, Meta(ge=1, le=3600), doc("Seconds until an event stream is closed.")] = (
        300
    )
    max_subscribers_per_run: Annotated[int, Meta(ge=1, le=1000), doc("Concurrent readers of one run.")] = 100
    on_disconnect: Annotated[
        Literal["cancel", "continue"],
        doc(
            "Whether a run is cancelled or continues when its caller, of `/invoke/stream` or in another "
            "protocol, disconnects."
        ),
    ] = "cancel"


class RedisSpec(Struct, frozen=True):
    url: Annotated[
        NonEmpty,
        doc("URL of Redis: redis://, rediss:// (TLS), unix://, redis+cluster:// or redis+sentinel://."),
    ] = DEFAULT_REDIS_URL
    stream_ttl_seconds: Annotated[
        int, Meta(ge=60, le=604800), doc("Seconds for which a finished run is stored, with either backend.")
    ] = 3600
    max_events_per_run: Annotated[
        int, Meta(ge=10, le=100_000), doc("Events stored per run, with either backend.")
    ] = 10_000
    connection_pool_size: Annotated[int, Meta(ge=1), doc("Connections to Redis.")] = 10
    key_prefix: Annotated[
        KeyPrefix, doc("What all keys in Redis begin with; services with different ones share nothing.")
    ] = "dockrion"


class IngestSpec(Struct, frozen=True):
    enabled: Annotated[bool, doc("Accept events from other processes: `POST /runs/{id}/events`.")] = False
    token_env: Annotated[
        EnvVar | None,
        doc("Environment variable with the token for pushing events into any run, and for external runs."),
    ] = None
    idle_timeout: Annotated[
        int, Meta(ge=1, le=86400), doc("Seconds without a pushed event after which an external run fails.")
    ] = 60


class StreamingSpec(Struct, frozen=True):
    async_runs: Annotated[bool, doc("Serve the `/runs` endpoints.")] = True
    backend: Annotated[Literal["memory", "redis"], doc("Storage of runs and their events.")] = "memory"
    allow_client_ids: Annotated[bool, doc("Let callers choose run ids: `POST /runs?run_id=…`.")] = True
    store_input: Annotated[
        bool | None,
        doc("Keep the input with each run's record, which shows it; null: with the memory backend only."),
    ] = None
    max_concurrent_runs: Annotated[int, Meta(ge=1, le=10_000), doc("Concurrent runs, per process.")] = 100
    max_queued_runs: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        doc("Runs waiting for a slot; per process with memory, in all with redis."),
    ] = 1000
    on_worker_lost: Annotated[
        Literal["fail", "retry"],
        doc("Whether a run whose process has died or shut down ends or begins again; retry needs redis."),
    ] = "fail"
    max_attempts: Annotated[
        int, Meta(ge=1, le=10), doc("How often a run may begin, with `on_worker_lost: retry`.")
    ] = 2
    id_generator: Annotated[IdGeneratorSpec, doc("Run ids.")] = field(default_factory=IdGeneratorSpec)
    events: Annotated[EventsSpec, doc("Event filter and timing.")] = field(default_factory=EventsSpec)
    connection: Annotated[ConnectionSpec, doc("Reader connections.")] = field(default_factory=ConnectionSpec)
    redis: Annotated[RedisSpec, doc("Redis, and retention of runs.")] = field(default_factory=RedisSpec)
    ingest: Annotated[IngestSpec, doc("Events from other processes.")] = field(default_factory=IngestSpec)

    @property
    def attempts(self) -> int:
        """How often a run may begin."""
        return self.max_attempts if self.on_worker_lost == "retry" else 1

    @property
    def stores_input(self) -> bool:
        """Whether the input of a run is kept, which is of use only where records can be read."""
        wanted = self.backend == "memory" if self.store_input is None else self.store_input
        return self.async_runs and wanted
