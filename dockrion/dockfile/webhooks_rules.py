"""Rules of the section `webhooks`, see `rules`."""

import re
from ipaddress import ip_network
from urllib.parse import urlsplit

from dockrion.dockfile.decode import Diagnostics
from dockrion.dockfile.problems import KeyPath
from dockrion.dockfile.structs import Dockfile
from dockrion.dockfile.webhooks_structs import WebhooksSpec, WebhookTargetSpec, targets
from dockrion.events import EventFilter

_HOST_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z]([a-z0-9-]*[a-z0-9])?")


def check_webhooks(
    webhooks: WebhooksSpec | list[WebhookTargetSpec], _: KeyPath, diagnostics: Diagnostics
) -> None:
    """Check the section."""
    urls: set[str] = set()
    for keys, target in targets(webhooks):
        if not _has_valid_host(target.url):
            diagnostics.error((*keys, "url"), "expected a host, and a valid port if any")
        if target.url in urls:
            diagnostics.error((*keys, "url"), "is listed twice; name all its events in one target")
        urls.add(target.url)
        _check_events(target.events, (*keys, "events"), diagnostics)
    if isinstance(webhooks, WebhooksSpec):
        _check_callers(webhooks, diagnostics)


def warn_of_filtered_events(dockfile: Dockfile, diagnostics: Diagnostics) -> None:
    """Warn of event types that are sent nowhere, because `streaming.events.allowed` leaves them out."""
    allowed = EventFilter(dockfile.streaming.events.allowed)
    for keys, target in targets(dockfile.webhooks):
        for index, name in enumerate(target.events):
            passes = allowed.passes_custom if name == "custom" else allowed.allows(name)
            if not passes:
                diagnostics.warn(
                    (*keys, "events", index), f"no effect: streaming.events.allowed leaves out {name}"
                )


def _check_events(names: list[str], keys: KeyPath, diagnostics: Diagnostics) -> None:
    if not names:
        diagnostics.error(keys, "expected at least one event type")
    for index, name in enumerate(names):
        try:
            EventFilter([name])
        except ValueError as error:
            diagnostics.error((*keys, index), str(error))


def _check_callers(webhooks: WebhooksSpec, diagnostics: Diagnostics) -> None:
    for index, host in enumerate(webhooks.allowed_hosts):
        if not (_HOST_NAME.fullmatch(host.lower()) or _is_network(host)):
            message = "expected a host name, an IP address or a network"
            value = diagnostics.format_value(host)
            diagnostics.error(("webhooks", "allowed_hosts", index), f"{message}, got {value}")
    if webhooks.allowed_hosts and webhooks.secret_env is None:
        diagnostics.error(("webhooks", "secret_env"), "required with allowed_hosts, but missing")
    elif webhooks.secret_env is not None and not webhooks.allowed_hosts:
        message = "no effect without allowed_hosts; each target has a secret_env of its own"
        diagnostics.warn(("webhooks", "secret_env"), message)


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _has_valid_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
