"""The response as an object: what is known of it beside its events, and its JSON."""

from typing import Any

import msgspec

from dockrion.protocols.openai.response_frames import in_json
from dockrion.protocols.reply import TokenCounts

MAX_COUNT = 2**63 - 1  # that fits into JSON for every reader


class ResponseInfo(msgspec.Struct, frozen=True):
    """What the request, the run's record and the Dockfile say about a response.

    Attributes:
        run_id: The run.
        created_at: Seconds since the epoch.
        agent: The agent's name, as JSON.
        model: The model as the request names it.
        metadata: The request's metadata, as JSON.
        background: Whether the run goes on when its caller leaves.
        client_tools: The names of the tools that the client has.
        output_path: `agent.chat.output`.
    """

    run_id: str
    created_at: int
    agent: bytes
    model: str
    metadata: bytes = b"{}"
    background: bool = True
    client_tools: frozenset[str] = frozenset()
    output_path: str | None = None

    def response(self, status: str, output: bytes, **fields: Any) -> bytes:
        """Return the response's JSON.

        Args:
            status: Its status.
            output: The JSON of its items.
            fields: Fields that are not null.
        """
        body = {
            "id": f"resp_{self.run_id}",
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": self.background,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "metadata": msgspec.Raw(self.metadata),
            "model": self.model,
            "output": msgspec.Raw(output),
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": True,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": None,
            "user": None,
        }
        return in_json(body | fields)


class Usage(msgspec.Struct, frozen=True):
    """The tokens that the agent's models took, as far as it reports them."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def with_totals(self, totals: TokenCounts) -> "Usage":
        """Return it with other totals."""
        return msgspec.structs.replace(self, **msgspec.structs.asdict(totals))

    def counts(self) -> dict[str, Any]:
        """Return them as the API has them."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.total_tokens,
        }
