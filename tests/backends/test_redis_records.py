"""What a listing reads of large runs from Redis, also of those that replicas of earlier versions stored."""

from typing import Any

import msgspec

from dockrion.backends.run_log import Run, WaitingFor
from dockrion.backends.summaries import SUMMARY_BYTES, encode_record
from tests.backends.conformance import advanced, entries, new_run
from tests.backends.service import Service

LARGE = "x" * 1_000_000


async def stored(service: Service) -> tuple[Any, Run]:
    """Store a failed run with large details; return a replica and the run."""
    one = await service.replica()
    run = new_run()
    await one.create(run)
    error = {"error": "m", "code": "C", "details": LARGE}
    run = msgspec.structs.replace(advanced(run, 1, "failed"), error=error, output=msgspec.Raw(b"1"))
    await one.append(run, entries(1, 1, "error"))
    return one, run


async def listed(backend: Any) -> Run:
    (run,) = (await backend.recent(status=None, limit=10, cursor=None)).items
    assert isinstance(run, Run)
    return run


async def test_listing_does_not_read_what_it_does_not_show(service: Service) -> None:
    one, run = await stored(service)
    key = service.keys.run(run.run_id)
    assert service.ask("HSTRLEN", key, "record") < SUMMARY_BYTES
    assert service.ask("HSTRLEN", key, "whole") > len(LARGE)
    assert (await listed(one)).truncated
    assert await one.get(run.run_id) == run


async def test_small_record_is_stored_once(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    await one.create(run)
    run = advanced(run, 1, "failed")
    await one.append(run, entries(1, 1, "error"))
    assert service.ask("HSTRLEN", service.keys.run(run.run_id), "whole") == 0
    assert await one.get(run.run_id) == await listed(one) == run


async def test_large_record_of_an_earlier_version_is_listed_shortened(service: Service) -> None:
    one, run = await stored(service)
    key = service.keys.run(run.run_id)
    service.ask("HSET", key, "record", encode_record(msgspec.structs.replace(run, output=None)))
    service.ask("HDEL", key, "whole")
    shown = await listed(one)
    assert shown.truncated
    assert len(encode_record(shown)) < SUMMARY_BYTES
    assert await one.get(run.run_id) == run


async def test_record_of_a_later_version_may_have_other_fields(service: Service) -> None:
    one, run = await stored(service)
    key = service.keys.run(run.run_id)
    fields = msgspec.json.decode(service.ask("HGET", key, "record")) | {"later": 1}
    service.ask("HSET", key, "record", msgspec.json.encode(fields))
    assert (await listed(one)).run_id == run.run_id


async def test_large_question_that_an_earlier_version_leaves_behind_is_not_shown(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    await one.create(run)
    question = WaitingFor(request_id="q", prompt=LARGE, expires_at=run.created_at)
    await one.append(msgspec.structs.replace(run, waiting_for=question), [])
    key = service.keys.run(run.run_id)
    assert service.ask("HSTRLEN", key, "whole") > len(LARGE)
    ended = advanced(run, 1, "failed")
    # An earlier version ends the run: it does not know the field, and leaves the whole record as it is.
    fields = msgspec.json.decode(encode_record(ended))
    assert "waiting_for" not in fields
    service.ask("HSET", key, "record", msgspec.json.encode(fields), "closed", 1, "last", 1)
    assert await one.get(run.run_id) == await listed(one) == ended


async def test_answered_question_leaves_no_large_record_behind(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    await one.create(run)
    question = WaitingFor(request_id="q", prompt=LARGE, expires_at=run.created_at)
    await one.append(msgspec.structs.replace(run, waiting_for=question), [])
    await one.append(run, [])
    assert service.ask("HSTRLEN", service.keys.run(run.run_id), "whole") == 0
