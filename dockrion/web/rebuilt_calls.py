"""Agent calls that another replica has validated and stored with their runs."""

from typing import Any

import msgspec

from dockrion.backends.work_queue import TakenRun
from dockrion.caller import set_current_request
from dockrion.runs.agent import Agent, Call
from dockrion.runs.job import decode_job
from dockrion.web.payloads import converted, keep_input, split_config
from dockrion.web.push_urls import push_url_here
from dockrion.web.service import Service


async def rebuilt_call(service: Service, taken: TakenRun) -> tuple[Agent | None, Call]:
    """Return the agent call of a run that was taken from the queue, and make its request the current one.

    Args:
        service: The service.
        taken: The run, with its job.

    Returns:
        What works on it, None for the service's agent; and the call.

    Raises:
        DecodeError: The job is of a version that this one does not understand.
        DockrionError: What validated it was another configuration of the service.
    """
    job = decode_job(taken.job)
    set_current_request(job.request)
    if job.body is None:
        from dockrion.agents.external import ExternalAgent  # noqa: PLC0415  memory

        external = ExternalAgent(service.dockfile.streaming.ingest.idle_timeout)
        call = Call(None, request=job.request, events_url=job.events_url, caller=job.caller)
        return external, call
    value: Any = msgspec.json.decode(job.body)
    config, resume = split_config(service, value)
    stored = None
    if service.dockfile.streaming.stores_input:
        body = await service.backend.get_input(taken.run.run_id, taken.run.incarnation)
        if body is not None:  # in which secret answers to attempts before this one are masked
            stored = await keep_input(service, msgspec.json.decode(body), body)
    if service.payload_type is not None:
        value = await converted(service.payload_type, value, len(job.body), service.redactor)
    events_url = await push_url_here(service, job.events_url)
    call = Call(value, config, resume, job.request, events_url, job.caller, stored)
    return None, msgspec.structs.replace(call, invocation=job.invocation)
