"""The storage backend that a Dockfile selects."""

import os
import socket
from typing import TYPE_CHECKING

from dockrion.backends import Backend
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.outbox import LEASE_SECONDS, Copying
from dockrion.backends.run_log import Run
from dockrion.dockfile import Dockfile, Loaded, public_target, shared_settings
from dockrion.events import Entry
from dockrion.metrics import Metrics
from dockrion.runs.tracing import RunTracer

if TYPE_CHECKING:
    from dockrion.backends.memory.outbox import MemoryOutbox

_UNREACHABLE_SECONDS = 60.0  # how long finished runs are kept where no endpoint shows them
_RUNS_SHARE = 4  # of `max_stored_bytes`: what one run may take of a Redis, whose total it does not bound
_OUTBOX_SHARE = 4  # of `max_stored_bytes`: what may wait in memory to be delivered, in addition to that
_MIN_RUN_BYTES = 2 * 1024 * 1024  # some batches, so that readers who keep up see every event


def create_backend(
    dockfile: Dockfile,
    metrics: Metrics,
    copying: Copying | None = None,
    tracer: RunTracer | None = None,
) -> Backend:
    """Create the backend.

    Args:
        dockfile: Selects it.
        metrics: Counts what it stores.
        copying: Says which events are copied into its outbox; None for a backend without one.
        tracer: Ends the spans of runs that it ends; None if runs are not traced.
    """

    def on_ended(run: Run, last: Entry) -> None:
        metrics.runs.count_events([last])
        if tracer is not None:
            tracer.end(run)

    streaming, retention = dockfile.streaming, dockfile.streaming.redis
    if streaming.backend == "redis":
        from dockrion.backends.redis import Declaration, Observer, RedisBackend  # noqa: PLC0415  redis: 14 MiB

        redis = metrics.redis()
        return RedisBackend(
            retention.url,
            agent=dockfile.agent.name,
            max_events=retention.max_events_per_run,
            max_bytes=max(dockfile.limits.max_stored_bytes // _RUNS_SHARE, _MIN_RUN_BYTES),
            ttl=retention.stream_ttl_seconds,
            max_run_duration=streaming.events.max_run_duration,
            waiting_counts=streaming.events.waiting_counts,
            pool_size=retention.connection_pool_size,
            key_prefix=retention.key_prefix,
            copying=copying,
            declaration=Declaration(
                public_target(dockfile.agent), shared_settings(dockfile), socket.gethostname(), os.getpid()
            ),
            on_ended=on_ended,
            observer=Observer(on_reply=redis.observe, on_state=redis.show_state),
        )
    ttl = retention.stream_ttl_seconds if streaming.async_runs else _UNREACHABLE_SECONDS
    stored = metrics.memory_store()
    backend = MemoryBackend(
        max_events=retention.max_events_per_run,
        ttl=ttl,
        max_bytes=dockfile.limits.max_stored_bytes,
        on_evicted=stored.count_evicted,
        outbox=None if copying is None else _memory_outbox(dockfile, copying),
    )
    stored.stored_bytes.set_function(lambda: backend.stored_bytes)
    return backend


def _memory_outbox(dockfile: Dockfile, copying: Copying) -> "MemoryOutbox":
    from dockrion.backends.memory.outbox import MemoryOutbox  # noqa: PLC0415  memory: only needed with webhooks

    return MemoryOutbox(copying, LEASE_SECONDS, dockfile.limits.max_stored_bytes // _OUTBOX_SHARE)


def check_backend(loaded: Loaded) -> None:
    """Check the address of the backend, without connecting to it.

    Raises:
        StartError: It is invalid.
    """
    streaming = loaded.dockfile.streaming
    if streaming.backend == "redis":
        from dockrion.backends.redis import check_url  # noqa: PLC0415  memory

        check_url(streaming.redis.url)


async def find_redis_problem(dockfile: Dockfile) -> str | None:
    """Return why the service could not use its Redis, None if it can.

    Raises:
        StartError: The URL is malformed.
    """
    from dockrion.backends.redis import find_problem  # noqa: PLC0415  memory

    redis = dockfile.streaming.redis
    return await find_problem(redis.url, agent=dockfile.agent.name, key_prefix=redis.key_prefix)
