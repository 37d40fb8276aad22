"""What `dockrion run` and `dockrion validate` print about a Dockfile, and why they may refuse to serve it."""

from collections.abc import Iterable, Iterator

from yarl import URL

from dockrion.dockfile.auth_structs import AuthSpec
from dockrion.dockfile.expose_structs import ExposeSpec
from dockrion.dockfile.loading import Loaded
from dockrion.dockfile.observability_structs import ObservabilitySpec
from dockrion.dockfile.structs import Dockfile
from dockrion.dockfile.webhooks_structs import targets

_SIMILARITY = 0.85  # reached by `authn` and `polices`, not by `author`


def unserved(loaded: Loaded) -> list[str]:
    """Return a line for each setting that this version cannot enforce, and must therefore refuse to serve."""
    return [f"{path}: not served by this version: {reason}" for path, reason in _unserved(loaded)]


def summary(loaded: Loaded, endpoints: Iterable[str]) -> str:
    """Return a summary of the service in a few lines.

    Args:
        loaded: The Dockfile.
        endpoints: The endpoints, as `METHOD /path`.
    """
    dockfile = loaded.dockfile
    agent = dockfile.agent
    lines = [
        ("agent", f"{agent.name} ({agent.framework})"),
        ("invokes", f"{agent.mode} {agent.target}"),
        ("listens", _listens(dockfile.expose)),
        ("backend", dockfile.streaming.backend),
        *(("serves", endpoint) for endpoint in endpoints),
        *(("protocol", name) for name in dockfile.expose.protocols),
        ("callers", _callers(dockfile.auth)),
        *(("notifies", receiver) for receiver in _receivers(dockfile)),
        *(("traces", place) for place in _traces(dockfile.observability)),
        *(("ignores", ignored) for ignored in _ignored(dockfile)),
    ]
    text, previous = "", ""
    for name, value in lines:
        text += f"{name if name != previous else '':<9}{value}\n"
        previous = name
    return text


def _listens(expose: ExposeSpec) -> str:
    below = f", below {expose.root_path}" if expose.root_path else ""
    return f"{expose.host}:{expose.port}{', with TLS' if expose.tls else ''}{below}"


def _callers(auth: AuthSpec | None) -> str:
    if auth is None or auth.mode == "none":
        return "everybody"
    return f"authenticated by {auth.mode}"


def _receivers(dockfile: Dockfile) -> Iterator[str]:
    """Yield where webhooks go, without paths and queries, which may contain a token."""
    for _, target in targets(dockfile.webhooks):
        yield f"{_origin(target.url)} of {', '.join(target.events)}"
    if (spec := dockfile.webhooks_spec) is not None and spec.allowed_hosts:
        yield f"callers' URLs at {', '.join(spec.allowed_hosts)}"


def _traces(observability: ObservabilitySpec) -> Iterator[str]:
    """Yield where spans go, as far as the Dockfile says it."""
    spec, langfuse = observability.tracing_spec, observability.langfuse
    if spec is not None and spec.exporter != "none":
        exporter = "to the log" if spec.exporter == "console" else "by OTLP"
        yield exporter if spec.endpoint is None else f"{exporter} to {_origin(spec.endpoint)}"
    if langfuse.enabled:
        yield f"to Langfuse at {_origin(langfuse.host)}"


def _origin(url: str) -> URL:
    return URL(url).origin()


def _unserved(loaded: Loaded) -> Iterator[tuple[str, str]]:
    dockfile = loaded.dockfile
    if dockfile.agent.mode == "url" and dockfile.allowed_tools is not None:
        reason = "the tool calls of a separate agent process cannot be intercepted; enforce the list there"
        yield "policies.tools", f"{reason}, and remove the section here"
    for path in loaded.unknown:
        for section in ("auth", "policies"):
            if path.startswith(f"{section}."):
                yield path, "an unknown field cannot be enforced; correct or remove it"
            if _misspells(path, section):
                yield path, f"an unknown section that resembles {section}; correct or rename it"


def _misspells(name: str, section: str) -> bool:
    """Return whether a name seems to be a section's, misspelt: the service would be unprotected."""
    from difflib import SequenceMatcher  # noqa: PLC0415  memory: most Dockfiles have no unknown field

    name = name.lower()
    similar = SequenceMatcher(None, name, section).ratio() >= _SIMILARITY or sorted(name) == sorted(section)
    return name.isalpha() and similar


def _ignored(dockfile: Dockfile) -> Iterator[str]:
    agent, streaming = dockfile.agent, dockfile.streaming
    for mode in ("entrypoint", "url"):
        if mode != agent.mode and getattr(agent, mode) is not None:
            yield f"agent.{mode} (the {agent.mode} is invoked)"
    for name in ("protocol", "model", "token_env", "cancel_url", "health_url", "input_url"):
        if agent.mode != "url" and getattr(agent, name) is not None:
            yield f"agent.{name} (the {agent.mode} is invoked)"
    arguments = dockfile.arguments
    if not agent.takes_config and (arguments.config is not None or arguments.allow_request_config):
        yield "arguments.config and allow_request_config (the agent is neither a graph nor a runnable)"
    if not agent.takes_config and (arguments.interrupts != "end" or arguments.stream_values):
        yield "arguments.interrupts and stream_values (the agent is not a graph)"
    elif arguments.interrupts == "wait" and not streaming.async_runs:
        yield "arguments.interrupts (without streaming.async_runs, callers cannot answer)"
    if streaming.id_generator.type == "uuid" and streaming.id_generator.handler is not None:
        yield "streaming.id_generator.handler (type is uuid)"
    if dockfile.build is not None:
        yield "build"
