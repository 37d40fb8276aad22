"""Dockrion's own protocol: the payload is posted as it is, and the response is an output or events."""

from collections.abc import Iterator
from typing import Any

import msgspec

from dockrion.agents.responses import Part, ResponseReader
from dockrion.agents.servers.dockrion_readers import is_supported, reader_for
from dockrion.agents.servers.recognition import recognizing_reader_for
from dockrion.dockfile import Dockfile
from dockrion.errors import AgentFailed
from dockrion.runs.agent import Call
from dockrion.runs.outcome import Completed, Failed


class AgentProcess:
    """An agent process that was written for Dockrion, or another Dockrion.

    Args:
        dockfile: Names the agent.
    """

    accept = "text/event-stream, application/x-ndjson, application/json"
    input_schema: dict[str, Any] | None = None

    def __init__(self, dockfile: Dockfile) -> None:
        self._name = dockfile.agent.name
        self._recognizes = dockfile.agent.protocol is None
        self.pushes = dockfile.streaming.ingest.enabled

    def body(self, call: Call, run_id: str) -> bytes:  # noqa: ARG002
        return msgspec.json.encode(call.payload)

    def headers(self, call: Call, run_id: str) -> dict[str, str | None]:
        return {
            "X-Dockrion-Run-Id": run_id,
            "X-Dockrion-Agent": self._name,
            "X-Dockrion-Attempt": str(call.attempt),
            "X-Dockrion-Events-Url": call.events_url,
            "X-Dockrion-Input-Url": self._input_url(call),
        }

    def reader_for(self, content_type: str) -> ResponseReader:
        if not is_supported(content_type):
            return _EmptyResponse(content_type)
        return recognizing_reader_for(content_type) if self._recognizes else reader_for(content_type)

    def failure(self, status: int, body: str) -> Failed:
        details = {"status": status, "body": body}
        return Failed(f"the agent process responded with status {status}", AgentFailed.code, details)

    def _input_url(self, call: Call) -> str | None:
        """Return where the process fetches the answers to its questions, each at `/<request_id>` below."""
        run, _, token = (call.events_url or "").rpartition("/events/")
        return f"{run}/input/{token}" if run and self.pushes else None


class _EmptyResponse:
    """Reads a response of a type that is not supported: only an empty one may have any type."""

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type

    def feed(self, data: bytes) -> Iterator[Part]:
        return reader_for(self._content_type).feed(data)  # raises, since the type is not supported

    def end(self) -> Iterator[Part]:
        yield Completed(b"null")
