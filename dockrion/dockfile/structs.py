"""A whole Dockfile and its sections: types, defaults, constraints and descriptions of the fields.

Decoding, error messages, the guide's field table and the editors' JSON Schema are derived from these structs.
Each section is in the module named after it or after its group, as `expose` and `openai` in `expose_structs`.
"""

from typing import Annotated, Literal

from msgspec import Struct, field

from dockrion.dockfile.agent_structs import AgentSpec, ArgumentsSpec, IoSchemaSpec
from dockrion.dockfile.annotations import doc, matching
from dockrion.dockfile.auth_structs import AuthSpec
from dockrion.dockfile.expose_structs import ExposeSpec, OpenAISpec
from dockrion.dockfile.limits_structs import LimitsSpec, PoliciesSpec
from dockrion.dockfile.metadata_structs import BuildSpec, MetadataSpec
from dockrion.dockfile.observability_structs import ObservabilitySpec
from dockrion.dockfile.streaming_structs import StreamingSpec
from dockrion.dockfile.webhooks_structs import WebhooksSpec, WebhookTargetSpec

SecretName = Annotated[
    str, matching(r"[A-Z_][A-Z0-9_]*", "capital letters, digits and underscores, ^[A-Z_][A-Z0-9_]*$")
]


class SecretSpec(Struct, frozen=True):
    name: Annotated[SecretName, doc("Name of the environment variable.")]
    description: Annotated[str | None, doc("Purpose, for readers.")] = None
    default: Annotated[str | None, doc("Value if the variable is unset or empty.")] = None


class SecretsSpec(Struct, frozen=True):
    required: Annotated[list[SecretSpec], doc("Secrets without which the service does not start.")] = []
    optional: Annotated[list[SecretSpec], doc("Secrets that may be missing.")] = []


class Dockfile(Struct, frozen=True):
    """A whole Dockfile, defaults filled in."""

    version: Annotated[Literal["1.0"], doc("Version of the Dockfile format.")]
    agent: Annotated[AgentSpec, doc("The agent; needs at least one of handler, entrypoint and url.")]
    io_schema: Annotated[IoSchemaSpec, doc("Schemas of input and output; without them, any JSON.")] = field(
        default_factory=IoSchemaSpec
    )
    expose: Annotated[ExposeSpec, doc("Network interface.")] = field(default_factory=ExposeSpec)
    openai: Annotated[OpenAISpec, doc("The protocol `openai`.")] = field(default_factory=OpenAISpec)
    streaming: Annotated[StreamingSpec, doc("Runs and their events.")] = field(default_factory=StreamingSpec)
    arguments: Annotated[ArgumentsSpec, doc("Agent invocation.")] = field(default_factory=ArgumentsSpec)
    limits: Annotated[LimitsSpec, doc("Limits on what callers and agents may consume.")] = field(
        default_factory=LimitsSpec
    )
    secrets: Annotated[SecretsSpec, doc("Environment variables whose values are masked everywhere.")] = field(
        default_factory=SecretsSpec
    )
    observability: Annotated[ObservabilitySpec, doc("Logs, metrics and traces.")] = field(
        default_factory=ObservabilitySpec
    )
    metadata: Annotated[MetadataSpec, doc("About the agent.")] = field(default_factory=MetadataSpec)
    auth: Annotated[AuthSpec | None, doc("Authentication; without this section everybody may call.")] = None
    policies: Annotated[PoliciesSpec | None, doc("Rules for the content of requests and outputs.")] = None
    webhooks: Annotated[
        WebhooksSpec | list[WebhookTargetSpec] | None,
        doc("Services that are told of the events of runs: a list of targets, or the fields below."),
    ] = None
    build: Annotated[BuildSpec | None, doc("Accepted and ignored; no image is built.")] = None

    @property
    def protected(self) -> bool:
        """Whether callers must authenticate."""
        return self.auth is not None and self.auth.mode != "none"

    @property
    def webhooks_spec(self) -> WebhooksSpec | None:
        """The section `webhooks`, also if it is a list of targets alone."""
        return WebhooksSpec(self.webhooks) if isinstance(self.webhooks, list) else self.webhooks

    @property
    def allowed_tools(self) -> list[str] | None:
        """The only tools the agent may call; None if it may call every tool."""
        tools = self.policies.tools if self.policies is not None else None
        return tools.allowed if tools is not None and tools.deny_by_default else None
