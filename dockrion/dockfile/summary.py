"""What a Dockfile asks of this service, and what of it is not served."""

from collections.abc import Iterable, Iterator

from dockrion.dockfile.auth_structs import AuthSpec
from dockrion.dockfile.loading import Loaded
from dockrion.dockfile.structs import Dockfile

_ALIKE = 0.85  # authn and polices are, author is not


def unserved(loaded: Loaded) -> list[str]:
    """Return a line for each thing the Dockfile asks for that this version cannot serve.

    Args:
        loaded: The Dockfile, and what it holds that this version does not know.
    """
    return [f"{path}: not served by this version: {reason}" for path, reason in _unserved(loaded)]


def summary(loaded: Loaded, endpoints: Iterable[str]) -> str:
    """Return in a few lines what the Dockfile makes of this service.

    Args:
        loaded: The Dockfile.
        endpoints: Methods and paths of what it serves.
    """
    dockfile = loaded.dockfile
    agent = dockfile.agent
    lines = [
        ("agent", f"{agent.name} ({agent.framework})"),
        ("invokes", f"{agent.mode} {agent.target}"),
        ("listens", f"{dockfile.expose.host}:{dockfile.expose.port}"),
        ("backend", dockfile.streaming.backend),
        *(("serves", endpoint) for endpoint in endpoints),
        ("lets in", _let_in(dockfile.auth)),
        *(("ignores", ignored) for ignored in _ignored(dockfile)),
    ]
    text, previous = "", ""
    for name, value in lines:
        text += f"{name if name != previous else '':<9}{value}\n"
        previous = name
    return text


def _let_in(auth: AuthSpec | None) -> str:
    if auth is None or auth.mode == "none":
        return "everybody"
    return f"who proves to be somebody: {auth.mode}"


def _unserved(loaded: Loaded) -> Iterator[tuple[str, str]]:
    dockfile = loaded.dockfile
    if dockfile.agent.mode == "url" and dockfile.allowed_tools is not None:
        yield "policies.tools", "an agent process of its own calls tools where nobody can stop it"
    for path in loaded.unknown:
        for section in ("auth", "policies"):
            if path.startswith(f"{section}."):
                yield path, "an unknown field, which cannot be enforced; correct it or take it out"
            if _misspells(path, section):
                yield path, f"an unknown section that looks like {section}; correct it or rename it"


def _misspells(name: str, section: str) -> bool:
    """Tell whether a name is meant to be a section's, which would leave the service open."""
    from difflib import SequenceMatcher  # noqa: PLC0415  a sound Dockfile does without

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
