"""Rules of the section `agent`, see `rules`."""

from dockrion.dockfile.agent_structs import AgentSpec
from dockrion.dockfile.decode import Diagnostics
from dockrion.dockfile.problems import KeyPath
from dockrion.dockfile.protocols_rules import unfit_payload
from dockrion.dockfile.structs import Dockfile

# Headers of one connection (RFC 9110, 7.6.1), and those that describe this body and the expected response.
_NOT_FORWARDED = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade", "host", "expect", "accept", "accept-encoding"),
        *("content-encoding", "content-length", "content-type"),
    }
)


def check_agent(agent: AgentSpec, keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check that the Dockfile says how the agent is invoked."""
    if not agent.target:
        diagnostics.error(keys, "expected at least one of handler, entrypoint, url")
    elif agent.mode == "entrypoint" and agent.framework is None:
        diagnostics.error((*keys, "framework"), "required with an entrypoint alone, but missing")
    if agent.mode == "url" and agent.protocol == "openai" and agent.model is None:
        diagnostics.error((*keys, "model"), "required with protocol openai, but missing")
    names = [header.lower() for header in agent.forward_headers]
    if agent.token_env is not None and "authorization" in names:
        message = "authorization is set by agent.token_env"
        diagnostics.error((*keys, "forward_headers", names.index("authorization")), message)
    if (agent.token_env is not None or "authorization" in names) and _has_credentials(agent.url or ""):
        message = "credentials in the URL are sent as authorization, which token_env or forward_headers sets"
        diagnostics.error((*keys, "url"), message)


def check_agent_name(name: str, keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check the agent's name."""
    if name.endswith("-"):
        diagnostics.error(keys, f"expected no hyphen at the end, got {diagnostics.format_value(name)}")


def check_forward_headers(headers: list[str], keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check which headers of callers' requests are for the agent."""
    names = [header.lower() for header in headers]
    for index, name in enumerate(names):
        if name in _NOT_FORWARDED or name.startswith("sec-websocket-"):
            message = f"{name} is about the connection or the body, and is never forwarded (RFC 9110, 7.6.1)"
            diagnostics.error((*keys, index), message)
        elif name == "traceparent" or name.startswith("x-dockrion-"):
            diagnostics.error((*keys, index), f"{name} is set by this service")
        elif name in names[:index]:
            diagnostics.error((*keys, index), f"{name} is listed twice")


def warn_of_credentials(dockfile: Dockfile, diagnostics: Diagnostics) -> None:
    """Warn of callers' credentials that the agent gets."""
    auth, credentials = dockfile.auth, {"authorization", "cookie"}
    if auth is not None and auth.mode == "api_key":
        credentials.add(auth.api_keys.header.lower())
    for index, header in enumerate(dockfile.agent.forward_headers):
        if header.lower() in credentials:
            message = f"{header} has callers' credentials, with which the agent can act as them"
            diagnostics.warn(("agent", "forward_headers", index), message)


def warn_of_server(dockfile: Dockfile, diagnostics: Diagnostics) -> None:
    """Warn of what has no effect with the protocol of `agent.url`, and of payloads that it cannot take."""
    agent = dockfile.agent
    if agent.mode != "url":
        return
    if agent.model is not None and agent.protocol != "openai":
        diagnostics.warn(("agent", "model"), "no effect without protocol: openai")
    if agent.input_url is not None and agent.protocol in ("openai", "ag-ui", "a2a"):
        message = f"no effect with protocol: {agent.protocol}, whose servers get no answers there"
        diagnostics.warn(("agent", "input_url"), message)
    if agent.protocol != "openai":
        return
    schema = dockfile.io_schema.input or {}
    if schema.get("type") != "string" and (reason := unfit_payload(dockfile)) is not None:
        diagnostics.warn(("io_schema", "input"), f"agent.protocol openai takes payloads with {reason}")


def _has_credentials(url: str) -> bool:
    return "@" in url.partition("://")[2].partition("/")[0]
