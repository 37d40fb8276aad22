"""The section of the services that are told of events: `webhooks`."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Struct, field

from dockrion.dockfile.annotations import EnvVar, NonEmpty, doc, matching
from dockrion.dockfile.problems import KeyPath
from dockrion.events import TERMINAL

WebhookUrl = Annotated[str, matching(r"https?://[^\s/?#@]+([/?][^\s#]*)?", "http(s)://host[:port][/path]")]
TERMINAL_EVENTS = sorted(TERMINAL)


class WebhookTargetSpec(Struct, frozen=True):
    url: Annotated[WebhookUrl, doc("URL that receives a POST with each event.")]
    secret_env: Annotated[
        EnvVar, doc("Environment variable with the secret that signs them: `whsec_` and base64.")
    ]
    events: Annotated[list[str], doc("Types of the events to send; `custom` is every custom event.")] = field(
        default_factory=lambda: list(TERMINAL_EVENTS)
    )


class WebhooksSpec(Struct, frozen=True):
    targets: Annotated[list[WebhookTargetSpec], doc("Services that are told of the events of all runs.")] = []
    allowed_hosts: Annotated[
        list[NonEmpty],
        doc("Hosts that callers may name in `?webhook_url=`, and private addresses or networks of them."),
    ] = []
    secret_env: Annotated[
        EnvVar | None,
        doc("Environment variable with the secret that signs what callers' URLs get; needs allowed_hosts."),
    ] = None


def targets(
    webhooks: WebhooksSpec | list[WebhookTargetSpec] | None,
) -> Iterator[tuple[KeyPath, WebhookTargetSpec]]:
    """Yield the targets of the section, which may be their list alone, each with its key path."""
    listed = webhooks.targets if isinstance(webhooks, WebhooksSpec) else webhooks or []
    parents: KeyPath = ("webhooks", "targets") if isinstance(webhooks, WebhooksSpec) else ("webhooks",)
    for index, target in enumerate(listed):
        yield (*parents, index), target
