"""The rules that types cannot state, each at the smallest part of the Dockfile it looks at."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from dockrion.dockfile.auth_structs import AuthSpec, JwtSpec, RoleSpec, ToolsSpec
from dockrion.dockfile.decode import Report
from dockrion.dockfile.problems import Keys
from dockrion.dockfile.schemas import check_schema
from dockrion.dockfile.structs import AgentSpec, ExposeSpec, IdGeneratorSpec, SecretsSpec, StreamingSpec
from dockrion.events import EventFilter

_REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def check(decoded: dict[Keys, Any], report: Report) -> None:
    """Apply the rules to the parts that are sound.

    Args:
        decoded: The parts, by their keys.
        report: Where errors and warnings go.
    """
    for keys, apply in _RULES.items():
        if decoded.get(keys) is not None and not report.failed(keys):
            apply(decoded[keys], keys, report)


def _agent(agent: AgentSpec, keys: Keys, report: Report) -> None:
    if not agent.target:
        report.error(keys, "expected at least one of handler, entrypoint, url")
    elif agent.mode == "entrypoint" and agent.framework is None:
        report.error((*keys, "framework"), "required with an entrypoint alone, but missing")


def _agent_name(name: str, keys: Keys, report: Report) -> None:
    if name.endswith("-"):
        report.error(keys, f"expected no hyphen at the end, got {report.shown(name)}")


def _expose(expose: ExposeSpec, keys: Keys, report: Report) -> None:
    if not expose.rest and expose.streaming == "none":
        report.error((*keys, "rest"), "false with streaming: none leaves nothing to serve")


def _origins(origins: list[str], keys: Keys, report: Report) -> None:
    for index, origin in enumerate(origins):
        _url(origin, (*keys, index), report)


def _url(url: str, keys: Keys, report: Report) -> None:
    if not url.startswith("http"):
        return
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        report.error(keys, f"expected a host, and a valid port if any, got {report.shown(url)}")


def _streaming(streaming: StreamingSpec, keys: Keys, report: Report) -> None:
    if streaming.ingest.enabled and not streaming.async_runs:
        report.error((*keys, "ingest", "enabled"), "true without async_runs leaves no runs to feed")
    url = streaming.redis.url
    if streaming.backend == "redis" and not (url.startswith(_REDIS_SCHEMES) and _has_sound_port(url)):
        # What it got is not shown: it may hold a password.
        report.error(
            (*keys, "redis", "url"), "expected redis://…, rediss://… or unix://…, with a valid port if any"
        )


def _has_sound_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _id_generator(generator: IdGeneratorSpec, keys: Keys, report: Report) -> None:
    if generator.type == "custom" and generator.handler is None:
        report.error((*keys, "handler"), "required with type custom, but missing")


def _events(allowed: str | list[str], keys: Keys, report: Report) -> None:
    parts: list[tuple[Keys, str | list[str]]] = [(keys, allowed)]
    if isinstance(allowed, list):
        parts = [((*keys, index), [event_type]) for index, event_type in enumerate(allowed)]
    for place, part in parts:
        try:
            EventFilter(part)
        except ValueError as error:
            report.error(place, str(error))


def _secrets(secrets: SecretsSpec, keys: Keys, report: Report) -> None:
    seen: set[str] = set()
    for kind, items in (("required", secrets.required), ("optional", secrets.optional)):
        for index, secret in enumerate(items):
            if secret.name in seen:
                report.error((*keys, kind, index, "name"), f"{secret.name} is declared twice")
            seen.add(secret.name)


def _auth(auth: AuthSpec, keys: Keys, report: Report) -> None:
    if auth.mode == "api_key" and not auth.api_keys.enabled:
        report.error((*keys, "api_keys", "enabled"), "false with mode api_key leaves no way in")
    if auth.mode == "oauth2" and auth.oauth2.introspection_url is None:
        report.error((*keys, "oauth2", "introspection_url"), "required with mode oauth2, but missing")
    half_named = (auth.oauth2.client_id_env is None) != (auth.oauth2.client_secret_env is None)
    if auth.mode == "oauth2" and half_named:
        report.error((*keys, "oauth2"), "expected both of client_id_env, client_secret_env, or neither")
    if auth.mode == "jwt" and (auth.jwt.jwks_url is None) == (auth.jwt.public_key_env is None):
        report.error((*keys, "jwt"), "expected exactly one of jwks_url, public_key_env")


def _jwt(jwt: JwtSpec, keys: Keys, report: Report) -> None:
    symmetric = {name.startswith("HS") for name in jwt.algorithms}
    if not symmetric:
        report.error((*keys, "algorithms"), "expected at least one")
    elif len(symmetric) > 1 or (True in symmetric and jwt.jwks_url is not None):
        # Else a token signed with the public key as the shared secret would pass.
        report.error((*keys, "algorithms"), "HS algorithms cannot go with public keys")


def _roles(roles: list[RoleSpec], keys: Keys, report: Report) -> None:
    names = [role.name for role in roles]
    for index, name in enumerate(names):
        if name in names[:index]:
            report.error((*keys, index, "name"), f"{report.shown(name)} is defined twice")


def _patterns(patterns: list[str], keys: Keys, report: Report) -> None:
    from dockrion.policies.patterns import BadPattern, Patterns  # noqa: PLC0415  for those who have some

    def refuse(index: int, error: BadPattern) -> None:
        shown = report.shown(patterns[index])
        report.error((*keys, index), f"expected a pattern that can be used, got {shown}: {error.message}")

    sound = True
    for index, pattern in enumerate(patterns):
        try:
            Patterns([pattern])
        except BadPattern as error:
            refuse(index, error)
            sound = False
    try:
        if sound:  # each by itself may be, and all together too large
            Patterns(patterns)
    except BadPattern as error:
        refuse(error.index, error)


def _tools(tools: ToolsSpec, keys: Keys, report: Report) -> None:
    if tools.allowed and not tools.deny_by_default:
        report.warn((*keys, "allowed"), "no effect without deny_by_default: true; every tool is allowed")


_RULES: dict[Keys, Callable[[Any, Keys, Report], None]] = {
    ("agent",): _agent,
    ("agent", "name"): _agent_name,
    ("agent", "url"): _url,
    ("agent", "cancel_url"): _url,
    ("agent", "health_url"): _url,
    ("io_schema", "input"): check_schema,
    ("io_schema", "output"): check_schema,
    ("expose",): _expose,
    ("expose", "cors", "origins"): _origins,
    ("streaming",): _streaming,
    ("streaming", "id_generator"): _id_generator,
    ("streaming", "events", "allowed"): _events,
    ("secrets",): _secrets,
    ("auth",): _auth,
    ("auth", "jwt"): _jwt,
    ("auth", "jwt", "jwks_url"): _url,
    ("auth", "oauth2", "introspection_url"): _url,
    ("auth", "roles"): _roles,
    ("policies", "safety", "redact_patterns"): _patterns,
    ("policies", "tools"): _tools,
}
