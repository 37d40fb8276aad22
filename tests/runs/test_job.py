"""What replicas of several versions read of a job."""

import msgspec

from dockrion.caller import CallerRequest
from dockrion.runs.agent import Call
from dockrion.runs.job import decode_job, encode_job


def test_the_request_of_a_job_is_what_it_was() -> None:
    headers = CallerRequest.with_headers({"X-A": "a"}).headers
    request = CallerRequest("00-trace", headers, "req-1", "a=1")
    assert decode_job(encode_job(Call(None, request=request, body=b"{}"))).request == request


def test_fields_of_other_versions_are_ignored_and_may_be_absent() -> None:
    job = decode_job(msgspec.msgpack.encode({"body": b"{}", "of_a_later_version": 1}))
    assert job.body == b"{}"
    assert job.request.request_id is None
