"""What the server at `agent.url` speaks: Dockrion's own protocol, or that of others (`agent.protocol`).

`protocol_of` returns the `ServerProtocol` that the Dockfile names. Each has a module named after it, which
writes requests, and one or two that read responses: `dockrion_readers`, `openai_readers`, `ag_ui_reader`,
`a2a_reader`. What readers make of them is in `agents.responses`. `recognition` tells the protocols apart
where the Dockfile names none. No I/O: `agents.remote_run` sends what they write.
"""

from typing import Any, Protocol

from dockrion.agents.responses import ResponseReader
from dockrion.dockfile import Dockfile
from dockrion.runs.agent import Call
from dockrion.runs.outcome import Failed


class ServerProtocol(Protocol):
    """How a server is asked, and how its responses are read. No I/O.

    Attributes:
        accept: The media types of its responses, for the header `Accept`.
        input_schema: The JSON Schema of the payloads that it understands, None for any.
        pushes: Whether a server that responds with 202 pushes the run's events.
    """

    accept: str
    input_schema: dict[str, Any] | None
    pushes: bool

    def body(self, call: Call, run_id: str) -> bytes:
        """Return the body of a request.

        Raises:
            InvalidRequest: The payload cannot be sent.
        """

    def headers(self, call: Call, run_id: str) -> dict[str, str | None]:
        """Return the headers that the protocol adds to a request; those that are None are not sent."""

    def reader_for(self, content_type: str) -> ResponseReader:
        """Return a reader for a response of a media type.

        Raises:
            ProtocolError: The server does not respond with it.
        """

    def failure(self, status: int, body: str) -> Failed:
        """Return the outcome of a request that was not successful.

        Args:
            status: The status of the response.
            body: The beginning of its body.
        """


def protocol_of(dockfile: Dockfile) -> ServerProtocol:
    """Return what the agent's server speaks; a module is imported only if its protocol is used."""
    if dockfile.agent.protocol == "openai":
        from dockrion.agents.servers.openai import ChatCompletions  # noqa: PLC0415  memory

        return ChatCompletions(dockfile)
    if dockfile.agent.protocol == "ag-ui":
        from dockrion.agents.servers.ag_ui import AgUiServer  # noqa: PLC0415  memory

        return AgUiServer(dockfile)
    if dockfile.agent.protocol == "a2a":
        from dockrion.agents.servers.a2a import A2aServer  # noqa: PLC0415  memory

        return A2aServer(dockfile)
    from dockrion.agents.servers.dockrion import AgentProcess  # noqa: PLC0415  memory

    return AgentProcess(dockfile)
