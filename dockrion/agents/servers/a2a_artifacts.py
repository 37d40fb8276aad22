"""What a task of A2A has produced, as far as it was shown, whatever the server sends again."""

from collections.abc import Iterable, Iterator
from typing import Any

from dockrion.agents.responses import check_size
from dockrion.agents.servers.a2a_objects import Artifact, decoded_value
from dockrion.runs.external_events import ExternalEvent

_ARTIFACT_BYTES = 256  # what an artifact takes besides its content


class _Shown:
    """An artifact as far as it was shown."""

    __slots__ = ("files", "position", "text", "values")

    def __init__(self) -> None:
        self.text = bytearray()
        self.position: int | None = None  # of what the server sends next in the text, if it sends it again
        self.values: list[bytes] = []  # as JSON
        self.files: set[int] = set()  # their hashes

    @property
    def server_text(self) -> bytes:
        return bytes(self.text[: self.position])


class Artifacts:
    """The artifacts of one task."""

    def __init__(self) -> None:
        self._shown: dict[str, _Shown] = {}
        self._kept = 0

    def add(self, artifact: Artifact, *, append: bool) -> Iterator[ExternalEvent]:
        """Yield what an artifact, or what goes on with it, has besides what was shown."""
        name = artifact.artifact_id
        if name not in self._shown:
            self._keep(len(name) + _ARTIFACT_BYTES)
        shown = self._shown.setdefault(name, _Shown())
        text = "".join(part.text or "" for part in artifact.parts).encode("utf-8", "replace")
        if append:
            new = self._appended(shown, text)
        else:
            new = self._replacing(shown, text)
            self._clear_values(shown)
        if new:
            self._keep(len(new))
            shown.text += new
            yield ExternalEvent("token", {"content": new.decode("utf-8", "replace"), "message_id": name})
        for part in artifact.parts:
            if (value := part.value) is not None:
                self._keep(len(value) + _ARTIFACT_BYTES)
                shown.values.append(value)
            elif (fields := part.file_fields) and (file := hash(tuple(fields.items()))) not in shown.files:
                self._keep(_ARTIFACT_BYTES)
                shown.files.add(file)
                yield ExternalEvent("custom:file", {"artifact_id": name, **fields})

    def go_on_from(self, artifacts: Iterable[Artifact]) -> Iterator[ExternalEvent]:
        """Yield what artifacts have besides what was shown, and expect what follows them in the task.

        That may have been shown, too, if the server tells the task from its beginning.
        """
        for shown in self._shown.values():
            shown.position = 0
            self._clear_values(shown)
        for artifact in artifacts:
            yield from self.add(artifact, append=False)
        for shown in self._shown.values():
            if shown.position == len(shown.text):
                shown.position = None

    def __bool__(self) -> bool:
        return any(shown.text or shown.values for shown in self._shown.values())

    @property
    def output(self) -> Any:
        """What they come to: their data, without any their text, None for neither.

        Raises:
            ProtocolError: The data is malformed.
        """
        values = [value for shown in self._shown.values() for value in shown.values]
        if values:
            return decoded_value(values[0] if len(values) == 1 else b"[%b]" % b",".join(values))
        return (
            b"\n\n".join(filter(None, (each.server_text for each in self._shown.values()))).decode() or None
        )

    def _appended(self, shown: _Shown, text: bytes) -> bytes:
        """Return what is new in text that goes on with an artifact."""
        if shown.position is None:
            return text
        again = shown.text[shown.position : shown.position + len(text)]
        if not text.startswith(again):  # it is none of what was shown
            shown.position = None
            return text
        shown.position += len(text)
        if shown.position >= len(shown.text):
            shown.position = None
        return text[len(again) :]

    def _replacing(self, shown: _Shown, text: bytes) -> bytes:
        """Return what is new in text that is an artifact."""
        if text.startswith(shown.text):
            shown.position = None
            return text[len(shown.text) :]
        if shown.position is not None and shown.text.startswith(text):
            shown.position = len(text)
            return b""
        self._keep(-len(shown.text))
        shown.text.clear()
        shown.position = None
        return text

    def _clear_values(self, shown: _Shown) -> None:
        self._keep(-sum(len(value) + _ARTIFACT_BYTES for value in shown.values))
        shown.values.clear()

    def _keep(self, size: int) -> None:
        self._kept += size
        check_size(self._kept)
