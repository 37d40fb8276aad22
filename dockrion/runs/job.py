"""What another replica needs to begin a run: the request of its caller, as stored with the run."""

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from dockrion.caller import Caller, CallerRequest
from dockrion.runs.agent import Call, Invocation


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """The request that started a run, validated. Replicas of other versions read it, too.

    Attributes:
        body: The request's body, None if other processes push the run's events.
        caller: The authenticated caller, None without authentication.
        traceparent: As in `CallerRequest`.
        headers: As in `CallerRequest`.
        events_url: As in `Call`.
        invocation: As in `Call`.
        request_id: As in `CallerRequest`.
        tracestate: As in `CallerRequest`.
    """

    body: bytes | None = None
    caller: Caller | None = None
    traceparent: str | None = None
    headers: dict[str, str] = {}
    events_url: str | None = None
    invocation: Invocation | None = None
    request_id: str | None = None
    tracestate: str | None = None

    @property
    def request(self) -> CallerRequest:
        """What the agent may know of the request."""
        headers = CIMultiDictProxy(CIMultiDict(self.headers))
        return CallerRequest(self.traceparent, headers, self.request_id, self.tracestate)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Job)


def encode_job(call: Call) -> bytes:
    """Return the job of a call."""
    request = call.request
    return _encoder.encode(
        Job(
            call.body,
            call.caller,
            request.traceparent,
            dict(request.headers),
            call.events_url,
            call.invocation,
            request.request_id,
            request.tracestate,
        )
    )


def decode_job(job: bytes) -> Job:
    """Return a job.

    Raises:
        msgspec.DecodeError: It is malformed, or of a version that this one does not understand.
    """
    return _decoder.decode(job)
