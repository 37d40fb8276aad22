"""Questions as requests in the stream of a call, which clients of versions with a handshake answer."""

import math
import re

import msgspec

from dockrion.events import TERMINAL, Entry
from dockrion.protocols import json_rpc
from dockrion.protocols.json_rpc import INVALID_REQUEST, Id, RpcError
from dockrion.protocols.mcp import log_events
from dockrion.protocols.mcp.elicitation import RequestState, form_of

_SEQUENCE = re.compile("[1-9][0-9]{0,17}", re.ASCII)
_MAX_OPEN = 100  # questions that are remembered; a run has no more of them open at once
_NOT_OPEN = "the question is no longer open"


class ElicitationId(msgspec.Struct, frozen=True):
    """The id of a request that asks: whichever replica gets the response finds the question by it.

    Attributes:
        call: The call.
        sequence: The sequence of the question.
    """

    call: RequestState
    sequence: int

    @classmethod
    def parse(cls, sent: Id) -> "ElicitationId":
        """Return the id in a response.

        Raises:
            RpcError: No request of this service has it.
        """
        call, _, number = sent.rpartition(":") if isinstance(sent, str) else ("", "", "")
        state = RequestState.find(call)
        if state is None or not _SEQUENCE.fullmatch(number):
            raise RpcError(INVALID_REQUEST, "no request of this service has the id of this response")
        return cls(state, int(number))


class AskedQuestion(msgspec.Struct, frozen=True):
    """A question that the client is asked.

    Attributes:
        elicitation_id: The id of the request.
        request_id: The question's id.
        expires_at: Until when it is open, in seconds since the epoch.
    """

    elicitation_id: str
    request_id: str
    expires_at: float


Asked = tuple[AskedQuestion, ...]


def ask(asked: Asked, question: log_events.Question, elicitation_id: str) -> tuple[bytes, Asked]:
    """Return the request that asks a question, and the questions that the client is asked then."""
    params = {"message": question.prompt, "requestedSchema": form_of(question.schema)}
    expires_at = math.inf if question.expires_at is None else question.expires_at.timestamp()
    added = AskedQuestion(elicitation_id, question.request_id, expires_at)
    return json_rpc.request(elicitation_id, "elicitation/create", params), (*asked[1 - _MAX_OPEN :], added)


def withdraw(asked: Asked, entry: Entry) -> tuple[list[bytes], Asked]:
    """Return what tells the client that questions are not open after an event, and those that are.

    The log does not tell who has answered a question, so a client is told of its own answers, too; it ignores
    that, as it has to: responses and cancellations may always cross.
    """
    left = _open_after(asked, entry)
    over = [
        json_rpc.notification(
            "notifications/cancelled", {"requestId": each.elicitation_id, "reason": _NOT_OPEN}
        )
        for each in asked
        if each not in left
    ]
    return over, left


def _open_after(asked: Asked, entry: Entry) -> Asked:
    if entry.type in TERMINAL or entry.type == "started":  # another attempt, which asks anew
        return ()
    answered = None
    if entry.type == "input_received":
        answered = msgspec.json.decode(entry.data, type=log_events.Answer).request_id
    return tuple(each for each in asked if each.request_id != answered and each.expires_at > entry.emitted_at)
