"""The endpoints of OpenAI's API."""

from dockrion.dockfile import Dockfile
from dockrion.openapi.operation import Operation
from dockrion.openapi.protocols import openai_chat, openai_responses


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    return {**openai_chat.operations(dockfile), **openai_responses.operations(dockfile)}
