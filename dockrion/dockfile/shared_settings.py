"""The settings that have to be the same for all replicas of a service.

Each of them ends, lists and begins again the runs of any other, so they need the same agent, the same
schemas, the same callers and the same rules for what is stored. Where a process listens, what it logs and how
much it does at once is its own.
"""

from hashlib import sha256
from typing import Any

import msgspec
from yarl import URL

from dockrion.dockfile.agent_structs import AgentSpec
from dockrion.dockfile.structs import Dockfile

SETTINGS = (
    *("agent.handler", "agent.entrypoint", "agent.url", "agent.framework"),
    *("io_schema.strict", "io_schema.input", "io_schema.output"),
    *("arguments.config", "arguments.interrupts", "arguments.stream_values"),
    *("streaming.async_runs", "streaming.store_input", "streaming.max_queued_runs"),
    *("streaming.on_worker_lost", "streaming.max_attempts"),
    *("streaming.events.allowed", "streaming.events.max_run_duration", "streaming.events.waiting_counts"),
    "streaming.connection.max_subscribers_per_run",
    *("streaming.redis.stream_ttl_seconds", "streaming.redis.max_events_per_run", "limits.max_stored_bytes"),
    *("auth", "policies", "webhooks"),
)
_DIGEST_LETTERS = 8


def shared_settings(dockfile: Dockfile) -> dict[str, str]:
    """Return a digest of each setting that has to be the same for all replicas."""
    return {path: _digest(_value(dockfile, path)) for path in SETTINGS}


def public_target(agent: AgentSpec) -> str:
    """Return what is invoked, without credentials."""
    if agent.mode != "url" or agent.target.startswith("unix:"):
        return agent.target
    return str(URL(agent.target).with_user(None))


def _value(dockfile: Dockfile, path: str) -> Any:
    value: Any = dockfile
    for name in path.split("."):
        value = getattr(value, name)
    return _http_path(value) if path == "agent.url" and value else value


def _http_path(url: str) -> str:
    """Return the path of a URL: each replica may have an agent process of its own, at another address."""
    return url.split(":", 2)[2] if url.startswith("unix:") else URL(url).path


def _digest(value: Any) -> str:
    return sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:_DIGEST_LETTERS]
