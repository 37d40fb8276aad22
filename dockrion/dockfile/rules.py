"""Rules that types cannot express, such as "required with type custom".

Each rule is registered for the smallest part of the Dockfile that it needs; it applies if that part decoded.
"""

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from dockrion.dockfile.agent_rules import (
    check_agent,
    check_agent_name,
    check_forward_headers,
    warn_of_credentials,
    warn_of_server,
)
from dockrion.dockfile.auth_rules import check_auth, check_jwt, check_roles
from dockrion.dockfile.decode import Diagnostics
from dockrion.dockfile.expose_structs import PROXY_FORM, ExposeSpec
from dockrion.dockfile.limits_structs import ToolsSpec
from dockrion.dockfile.observability_structs import TracingSpec
from dockrion.dockfile.problems import KeyPath
from dockrion.dockfile.protocols_rules import check_chat, check_protocols, warn_of_protocols
from dockrion.dockfile.schemas import check_schema
from dockrion.dockfile.streaming_structs import IdGeneratorSpec, StreamingSpec
from dockrion.dockfile.structs import Dockfile, SecretsSpec
from dockrion.dockfile.webhooks_rules import check_webhooks, warn_of_filtered_events
from dockrion.events import EventFilter

_REDIS_URL = re.compile(r"(unix|rediss?(?P<several>\+(cluster|sentinel))?)://(?P<rest>.*)")


def check_rules(decoded: dict[KeyPath, Any], diagnostics: Diagnostics) -> None:
    """Apply the rules to the parts that decoded.

    Args:
        decoded: The parts, by key path.
        diagnostics: Receives errors and warnings.
    """
    for keys, rule in _RULES.items():
        if decoded.get(keys) is not None and not diagnostics.failed(keys):
            rule(decoded[keys], keys, diagnostics)


def check_policies(dockfile: Dockfile, value: dict[str, Any], diagnostics: Diagnostics) -> None:
    """Warn where a valid Dockfile protects less than it seems to.

    Args:
        dockfile: The Dockfile.
        value: What it was decoded from.
        diagnostics: Receives the warnings.
    """
    for (*parents, name), consequence in _EMPTY_SECTIONS.items():
        section: Any = value
        for parent in parents:
            section = section.get(parent) or {}
        if name in section and section[name] is None:
            diagnostics.warn((*parents, name), f"the section is empty, so {consequence}, as without it")
    warn_of_credentials(dockfile, diagnostics)
    warn_of_server(dockfile, diagnostics)
    warn_of_filtered_events(dockfile, diagnostics)
    warn_of_protocols(dockfile, diagnostics)
    agent = dockfile.agent
    if dockfile.allowed_tools is not None and agent.mode != "url" and not agent.takes_config:
        diagnostics.warn(
            ("policies", "tools"),
            "only tools of LangChain, functions with @dockrion.tool and calls in context.tool are denied; "
            "before any other one, the agent has to call context.is_tool_allowed",
        )


_EMPTY_SECTIONS: dict[KeyPath, str] = {
    ("auth",): "everybody may call",
    ("policies",): "no policy applies",
    ("policies", "safety"): "nothing is redacted or refused",
    ("policies", "tools"): "the agent may call every tool",
}


def _expose(expose: ExposeSpec, keys: KeyPath, diagnostics: Diagnostics) -> None:
    if not (expose.rest or expose.protocols) and expose.streaming == "none":
        diagnostics.error((*keys, "rest"), "false with streaming: none leaves no endpoint to serve")


def _trusted_proxies(proxies: list[str], keys: KeyPath, diagnostics: Diagnostics) -> None:
    for index, proxy in enumerate(proxies):
        if proxy in proxies[:index]:
            diagnostics.error((*keys, index), f"{diagnostics.format_value(proxy)} is listed twice")
        elif proxy != "unix":
            _network(proxy, (*keys, index), diagnostics)


def _network(text: str, keys: KeyPath, diagnostics: Diagnostics) -> None:
    value = diagnostics.format_value(text)
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        diagnostics.error(keys, f"expected {PROXY_FORM}, got {value}")
        return
    if network.network_address != ip_network(text.partition("/")[0]).network_address:
        diagnostics.error(keys, f"expected the first address of a network, got {value}; write {network}")
    elif network.prefixlen == 0:
        diagnostics.warn(keys, f"{value} trusts everybody, so that callers choose their own address")


def _origins(origins: list[str], keys: KeyPath, diagnostics: Diagnostics) -> None:
    for index, origin in enumerate(origins):
        _url(origin, (*keys, index), diagnostics)


def _url(url: str, keys: KeyPath, diagnostics: Diagnostics) -> None:
    if not url.startswith("http"):
        return
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        diagnostics.error(
            keys, f"expected a host, and a valid port if any, got {diagnostics.format_value(url)}"
        )


def _streaming(streaming: StreamingSpec, keys: KeyPath, diagnostics: Diagnostics) -> None:
    if streaming.ingest.enabled and not streaming.async_runs:
        diagnostics.error((*keys, "ingest", "enabled"), "true requires streaming.async_runs: true")
    if streaming.on_worker_lost == "retry" and streaming.backend != "redis":
        message = "retry requires streaming.backend: redis; with memory, runs end with their process"
        diagnostics.error((*keys, "on_worker_lost"), message)
    if streaming.on_worker_lost == "fail" and streaming.max_attempts != StreamingSpec().max_attempts:
        diagnostics.warn((*keys, "max_attempts"), "no effect without on_worker_lost: retry")
    if streaming.backend == "redis" and not _is_redis_url(streaming.redis.url):
        # The message does not quote the URL: it may contain a password.
        diagnostics.error(
            (*keys, "redis", "url"),
            "expected redis://…, rediss://…, unix://…, redis+cluster://… or redis+sentinel://…, "
            "with valid ports if any",
        )


def _is_redis_url(url: str) -> bool:
    found = _REDIS_URL.fullmatch(url)
    if found is None:
        return False
    hosts = [url]
    if found["several"]:
        authority = re.split("[/?#]", found["rest"], maxsplit=1)[0]
        hosts = [f"//{host}" for host in authority.rpartition("@")[2].split(",")]
    try:
        return all(urlsplit(host).port != 0 for host in hosts)
    except ValueError:
        return False


def _id_generator(generator: IdGeneratorSpec, keys: KeyPath, diagnostics: Diagnostics) -> None:
    if generator.type == "custom" and generator.handler is None:
        diagnostics.error((*keys, "handler"), "required with type custom, but missing")


def _events(allowed: str | list[str], keys: KeyPath, diagnostics: Diagnostics) -> None:
    parts: list[tuple[KeyPath, str | list[str]]] = [(keys, allowed)]
    if isinstance(allowed, list):
        parts = [((*keys, index), [event_type]) for index, event_type in enumerate(allowed)]
    for part_keys, part in parts:
        try:
            EventFilter(part)
        except ValueError as error:
            diagnostics.error(part_keys, str(error))


def _secrets(secrets: SecretsSpec, keys: KeyPath, diagnostics: Diagnostics) -> None:
    seen: set[str] = set()
    for kind, items in (("required", secrets.required), ("optional", secrets.optional)):
        for index, secret in enumerate(items):
            if secret.name in seen:
                diagnostics.error((*keys, kind, index, "name"), f"{secret.name} is declared twice")
            seen.add(secret.name)
            if "\0" in (secret.default or ""):
                diagnostics.error((*keys, kind, index, "default"), "must not contain a null character")


def _patterns(patterns: list[str], keys: KeyPath, diagnostics: Diagnostics) -> None:
    from dockrion.policies.patterns import BadPattern, Patterns  # noqa: PLC0415  memory: only needed with patterns

    def reject(index: int, error: BadPattern) -> None:
        value = diagnostics.format_value(patterns[index])
        diagnostics.error((*keys, index), f"expected a supported pattern, got {value}: {error.message}")

    valid = True
    for index, pattern in enumerate(patterns):
        try:
            Patterns([pattern])
        except BadPattern as error:
            reject(index, error)
            valid = False
    try:
        if valid:  # patterns that are valid alone can be too large together
            Patterns(patterns)
    except BadPattern as error:
        reject(error.index, error)


def _tools(tools: ToolsSpec, keys: KeyPath, diagnostics: Diagnostics) -> None:
    if tools.allowed and not tools.deny_by_default:
        diagnostics.warn((*keys, "allowed"), "no effect with deny_by_default: false; every tool is allowed")


def _tracing(tracing: TracingSpec | bool, keys: KeyPath, diagnostics: Diagnostics) -> None:
    if isinstance(tracing, TracingSpec) and tracing.exporter in ("console", "none"):
        for name in ("endpoint", "headers_env"):
            if getattr(tracing, name) is not None:
                diagnostics.warn((*keys, name), f"no effect with exporter: {tracing.exporter}")


_RULES: dict[KeyPath, Callable[[Any, KeyPath, Diagnostics], None]] = {
    ("agent",): check_agent,
    ("agent", "name"): check_agent_name,
    ("agent", "url"): _url,
    ("agent", "cancel_url"): _url,
    ("agent", "health_url"): _url,
    ("agent", "input_url"): _url,
    ("agent", "forward_headers"): check_forward_headers,
    ("agent", "chat"): check_chat,
    ("io_schema", "input"): check_schema,
    ("io_schema", "output"): check_schema,
    ("expose",): _expose,
    ("expose", "protocols"): check_protocols,
    ("expose", "trusted_proxies"): _trusted_proxies,
    ("expose", "cors", "origins"): _origins,
    ("streaming",): _streaming,
    ("streaming", "id_generator"): _id_generator,
    ("streaming", "events", "allowed"): _events,
    ("secrets",): _secrets,
    ("auth",): check_auth,
    ("auth", "jwt"): check_jwt,
    ("auth", "jwt", "jwks_url"): _url,
    ("auth", "oauth2", "introspection_url"): _url,
    ("auth", "roles"): check_roles,
    ("policies", "safety", "redact_patterns"): _patterns,
    ("policies", "tools"): _tools,
    ("observability", "tracing"): _tracing,
    ("observability", "tracing", "endpoint"): _url,
    ("observability", "langfuse", "host"): _url,
    ("webhooks",): check_webhooks,
}
