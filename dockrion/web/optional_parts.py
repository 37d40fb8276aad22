"""The parts of a service that only some Dockfiles use.

Each is imported where it is made, to keep it out of the memory of the others.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dockrion.backends import Backend
from dockrion.dockfile import Dockfile, Loaded
from dockrion.dockfile.expose_structs import ExposeSpec
from dockrion.errors import StartError
from dockrion.json_schema import Violation
from dockrion.logs import log
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs.in_flight import InFlightRun
from dockrion.runs.owner_requests import OwnerRequests
from dockrion.runs.session import current_session
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.web.peers import UNIX, UntrustedProxyWarning

if TYPE_CHECKING:
    from dockrion.auth.authenticator import Authenticator
    from dockrion.policies.output_redaction import OutputPolicy
    from dockrion.runs.ingest import Ingest
    from dockrion.tls import ServerTls
    from dockrion.tracing.provider import Tracing
    from dockrion.tracing.run_tracer import RunTracer
    from dockrion.web.push_access import PushAccess
    from dockrion.web.tracing import Masks, RequestSpans
    from dockrion.web.trusted_proxies import TrustedProxies
    from dockrion.webhooks.service import Webhooks

_logger = logging.getLogger(__name__)


def authenticator(loaded: Loaded) -> "Authenticator | None":
    """Create what identifies callers, None if they need not authenticate.

    Raises:
        StartError: The Dockfile's `auth` cannot be served.
    """
    auth = loaded.dockfile.auth
    if auth is None or not loaded.dockfile.protected:
        return None
    from dockrion.auth.factory import create_authenticator  # noqa: PLC0415  memory

    return create_authenticator(auth, loaded.credentials)


def ingest(
    dockfile: Dockfile,
    find: Callable[[str, str | None], InFlightRun | None],
    backend: Backend,
    requests: OwnerRequests,
    redactor: Redactor,
    tools: ToolPolicy,
) -> "Ingest | None":
    """Create what accepts events from other processes, None unless the Dockfile wants them."""
    if not dockfile.streaming.ingest.enabled:
        return None
    from dockrion.runs.ingest import Ingest  # noqa: PLC0415  memory

    return Ingest(find, backend, requests, redactor, tools, max_event_bytes=dockfile.limits.max_event_bytes)


def push_access(loaded: Loaded, backend: Backend) -> "PushAccess | None":
    """Create what decides which processes those are, None if there are none."""
    dockfile, token = loaded.dockfile, loaded.credentials.ingest_token
    if not dockfile.streaming.ingest.enabled:
        return None
    from dockrion.web.push_access import PushAccess  # noqa: PLC0415  memory

    unix_proxy = UNIX in (dockfile.expose.trusted_proxies or ())
    if token is None and not dockfile.protected:
        restricted = "at the X-Dockrion-Events-Url of a run only, and no external runs"
        log(
            _logger,
            logging.INFO,
            "pushed events are accepted without streaming.ingest.token_env",
            over_tcp=restricted,
            over_unix_sockets=restricted if unix_proxy else "from every peer, and external runs",
        )
    return PushAccess(backend, token, unix_proxy=unix_proxy)


def injection_finder(dockfile: Dockfile) -> Callable[[Any], list[Violation]] | None:
    """Return what finds prompt injection in a payload, None unless the Dockfile blocks it."""
    safety = None if dockfile.policies is None else dockfile.policies.safety
    if safety is None or not safety.block_prompt_injection:
        return None
    from dockrion.policies.prompt_injection import find_injections  # noqa: PLC0415  memory

    return find_injections


def output_policy(dockfile: Dockfile, metrics: Metrics) -> "OutputPolicy | None":
    """Create the rules for the agent's texts, None without such rules."""
    safety = None if dockfile.policies is None else dockfile.policies.safety
    if safety is None or not (safety.redact_patterns or safety.max_output_chars):
        return None
    from dockrion.policies.output_redaction import OutputPolicy  # noqa: PLC0415  memory

    return OutputPolicy(
        safety.redact_patterns,
        max_output_chars=safety.max_output_chars,
        halt_on_violation=safety.halt_on_violation,
        on_hit=metrics.count_policy_hit,
    )


def proxies(expose: ExposeSpec) -> "TrustedProxies | UntrustedProxyWarning | None":
    """Create what learns whom proxies forward requests for, None if the Dockfile says that there are none."""
    if expose.trusted_proxies is None:
        return UntrustedProxyWarning()
    if not expose.trusted_proxies:
        return None
    from dockrion.web.trusted_proxies import TrustedProxies  # noqa: PLC0415  memory

    return TrustedProxies(expose.trusted_proxies)


def tracing(loaded: Loaded, redactor: Redactor) -> "Tracing | None":
    """Start to export spans, None unless the Dockfile asks for it.

    Raises:
        StartError: A package is missing, or a standard variable has a value that is not supported.
    """
    if not traced(loaded):
        return None
    from dockrion.tracing.provider import start_tracing  # noqa: PLC0415  memory, and an extra

    return start_tracing(loaded.dockfile, loaded.credentials, redactor, current_session)


def request_spans(tracing: "Tracing | None") -> "RequestSpans | None":
    """Create what makes spans of requests, None if they go nowhere."""
    if tracing is None:
        return None
    from dockrion.web.tracing import RequestSpans  # noqa: PLC0415  an extra

    return RequestSpans(tracing)


def run_tracer(
    tracing: "Tracing | None", loaded: Loaded, redactor: Redactor, masks: "Masks"
) -> "RunTracer | None":
    """Create what makes spans of runs, None if they go nowhere; see `tracing.run_tracer`."""
    if tracing is None:
        return None
    from dockrion.web.tracing import run_tracer  # noqa: PLC0415  an extra

    return run_tracer(tracing, loaded.dockfile, redactor, masks)


def traced(loaded: Loaded) -> bool:
    """Return whether requests and runs become spans.

    Raises:
        StartError: A package is missing.
    """
    if not loaded.dockfile.observability.traced:
        return False
    from dockrion.tracing import is_disabled  # noqa: PLC0415  memory

    if is_disabled():
        return False
    try:
        import dockrion.tracing.provider  # noqa: F401, PLC0415  memory, and an extra
    except ModuleNotFoundError as error:
        needs = f"observability: traces need the package {error.name}"
        raise StartError(f"{loaded.path}: {needs}: pip install 'dockrion[otel]'") from error
    return True


def tls(loaded: Loaded) -> "ServerTls | None":
    """Read the certificate that the service shows, None if it does not use TLS.

    Raises:
        StartError: It cannot be used.
    """
    spec = loaded.dockfile.expose.tls
    if spec is None:
        return None
    from dockrion.tls import ServerTls  # noqa: PLC0415  memory

    folder = loaded.path.parent.absolute()  # which the agent may leave
    return ServerTls(folder / spec.certificate, folder / spec.key)


def webhooks(loaded: Loaded) -> "Webhooks | None":
    """Create what tells other services of events, None if there is nobody to tell.

    Raises:
        StartError: A secret is missing or malformed.
    """
    spec = loaded.dockfile.webhooks_spec
    if spec is None or not (spec.targets or spec.allowed_hosts):
        return None
    from dockrion.webhooks.service import Webhooks  # noqa: PLC0415  memory

    return Webhooks(loaded.dockfile, loaded.credentials)
