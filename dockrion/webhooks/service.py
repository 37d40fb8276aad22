"""Webhooks of one service: its targets, where callers' URLs may lead, and what delivers."""

from dockrion.backends.outbox import Outbox
from dockrion.dockfile import Dockfile
from dockrion.dockfile.credentials import Credentials
from dockrion.dockfile.webhooks_structs import WebhooksSpec, targets
from dockrion.errors import StartError
from dockrion.metrics import Metrics
from dockrion.webhooks.allowed_hosts import AllowedHosts
from dockrion.webhooks.deliverer import Deliverer
from dockrion.webhooks.sender import Sender
from dockrion.webhooks.signing import Secret
from dockrion.webhooks.targets import Targets

_CLOSE_SECONDS = 3.0


class Webhooks:
    """The section `webhooks` of a Dockfile.

    Args:
        dockfile: The Dockfile.
        credentials: The secrets that it names variables for.

    Attributes:
        targets: Who is told of which events.
        allowed_hosts: The hosts that callers may name, None if they may name none.

    Raises:
        StartError: A secret is missing or malformed.
    """

    def __init__(self, dockfile: Dockfile, credentials: Credentials) -> None:
        spec = dockfile.webhooks_spec or WebhooksSpec()
        secrets = {
            variable: _secret(variable, text) for variable, text in credentials.webhook_secrets.items()
        }
        self.targets = Targets(
            [(target.url, secrets[target.secret_env], target.events) for _, target in targets(spec)],
            secrets[spec.secret_env] if spec.allowed_hosts and spec.secret_env is not None else None,
        )
        self.allowed_hosts = AllowedHosts(spec.allowed_hosts) if spec.allowed_hosts else None
        self._deliverer: Deliverer | None = None

    def start(self, outbox: Outbox, metrics: Metrics) -> None:
        """Begin to deliver what is in the outbox. Must be called on the event loop."""
        sender = Sender(self.allowed_hosts or AllowedHosts([]))
        self._deliverer = Deliverer(outbox, self.targets, sender, metrics.webhooks())

    @property
    def waiting(self) -> tuple[int, float]:
        """How many deliveries wait, and for how many seconds the oldest event has."""
        deliverer = self._deliverer
        return (0, 0.0) if deliverer is None else (deliverer.waiting, deliverer.oldest_seconds)

    async def aclose(self) -> None:
        """Stop delivering, once deliveries that are under way have had some time."""
        if self._deliverer is not None:
            await self._deliverer.aclose(_CLOSE_SECONDS)


def _secret(variable: str, text: str) -> Secret:
    if not text:
        raise StartError(f"webhooks: {variable} is not set")
    try:
        return Secret(text)
    except ValueError as error:
        raise StartError(f"webhooks: {variable} holds no secret for webhooks: {error}") from None
