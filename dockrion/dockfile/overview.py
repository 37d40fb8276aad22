"""What a Dockfile asks of this service, and what of it is not served."""

from collections.abc import Iterator
from difflib import SequenceMatcher

from dockrion.dockfile.loading import Loaded
from dockrion.dockfile.structs import Dockfile

_ALIKE = 0.85  # authn and polices are, author is not


def unserved(loaded: Loaded) -> list[str]:
    """Return a line for each thing the Dockfile asks for that this version cannot serve.

    Args:
        loaded: The Dockfile, and what it holds that this version does not know.
    """
    return [f"{path}: not served by this version: {reason}" for path, reason in _unserved(loaded)]


def summary(loaded: Loaded) -> str:
    """Return in a few lines what the Dockfile makes of this service.

    Args:
        loaded: The Dockfile.
    """
    dockfile = loaded.dockfile
    agent = dockfile.agent
    lines = [
        ("agent", f"{agent.name} ({agent.framework})"),
        ("invokes", f"{agent.mode} {agent.target}"),
        ("listens", f"{dockfile.expose.host}:{dockfile.expose.port}"),
        ("backend", dockfile.streaming.backend),
        *(("serves", endpoint) for endpoint in endpoints(dockfile)),
        *(("ignores", ignored) for ignored in _ignored(dockfile)),
    ]
    text, previous = "", ""
    for name, value in lines:
        text += f"{name if name != previous else '':<9}{value}\n"
        previous = name
    return text


def endpoints(dockfile: Dockfile) -> list[str]:
    """Return methods and paths of the endpoints that exist with a Dockfile."""
    runs, sse = dockfile.streaming.async_runs, dockfile.expose.streaming == "sse"
    rest = ["/", "/health", "/ready", "/metrics", "/schema", "/info"] if dockfile.expose.rest else []
    return [
        *(f"GET {path}" for path in rest),
        *(["POST /invoke"] if rest else []),
        *(["POST /invoke/stream"] if sse else []),
        *(["POST /runs", "GET /runs", "GET /runs/{id}"] if runs else []),
        *(["GET /runs/{id}/events"] if runs and sse else []),
        *(["POST /runs/{id}/events"] if dockfile.streaming.ingest.enabled else []),
        *(["DELETE /runs/{id}"] if runs else []),
    ]


def _unserved(loaded: Loaded) -> Iterator[tuple[str, str]]:
    dockfile = loaded.dockfile
    policies = dockfile.policies
    if dockfile.expose.streaming == "websocket":
        yield "expose.streaming", "websocket; use sse or none"
    if dockfile.auth is not None and dockfile.auth.mode != "none":
        reason = f"mode {dockfile.auth.mode}; only an explicit `mode: none` leaves the service open"
        yield "auth", reason
    unknown = any(path.startswith("policies.") for path in loaded.unknown)
    if policies is not None and (unknown or policies.safety is not None):
        yield "policies", "they would not be enforced; take the section out"
    if dockfile.agent.mode == "url" and dockfile.tools is not None and dockfile.tools.deny_by_default:
        yield "policies.tools", "an agent process of its own calls tools where nobody can stop it"

    for path in loaded.unknown:
        for section in ("auth", "policies"):
            if _misspells(path, section):
                yield path, f"an unknown section that looks like {section}; correct it or rename it"


def _misspells(name: str, section: str) -> bool:
    """Tell whether a name is meant to be a section's, which would leave the service open."""
    name = name.lower()
    alike = SequenceMatcher(None, name, section).ratio() >= _ALIKE or sorted(name) == sorted(section)
    return name.isalpha() and alike


def _ignored(dockfile: Dockfile) -> Iterator[str]:
    agent, streaming, observability = dockfile.agent, dockfile.streaming, dockfile.observability
    for mode in ("entrypoint", "url"):
        if mode != agent.mode and getattr(agent, mode) is not None:
            yield f"agent.{mode} (the {agent.mode} is invoked)"
    for name in ("cancel_url", "health_url"):
        if agent.mode != "url" and getattr(agent, name) is not None:
            yield f"agent.{name} (the {agent.mode} is invoked)"
    arguments = dockfile.arguments
    if not agent.takes_config and (arguments.config is not None or arguments.allow_request_config):
        yield "arguments.config and allow_request_config (the agent is no graph and no runnable)"
    if streaming.id_generator.type == "uuid" and streaming.id_generator.handler is not None:
        yield "streaming.id_generator.handler (type is uuid)"
    for name in ("tracing", "metrics", "langfuse"):
        if getattr(observability, name) is not None:
            yield f"observability.{name}"
    if dockfile.build is not None:
        yield "build"
