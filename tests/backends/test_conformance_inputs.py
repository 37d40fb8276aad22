"""The inputs of runs, on every backend."""

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.errors import RunNotFound
from dockrion.ids import new_incarnation
from tests.backends.conformance import Writer, begin, forget, new_run


async def begin_with(backend: Backend, body: bytes) -> Writer:
    run = new_run(body=body)
    await backend.create(run)
    return Writer(backend, run)


@pytest.mark.parametrize("size", [1, 300_000])
async def test_an_input_is_stored_as_long_as_its_run(backend: Backend, size: int) -> None:
    body = b'{"topic":"' + b"t" * size + b'"}'
    writer = await begin_with(backend, body)
    assert await backend.get_input(writer.run_id) == body
    await writer.write(3)
    await writer.finish()
    assert await backend.get_input(writer.run_id, writer.run.incarnation) == body
    await forget(backend, writer.run_id)
    with pytest.raises(RunNotFound):
        await backend.get_input(writer.run_id)


async def test_a_run_may_have_no_input(backend: Backend) -> None:
    assert await backend.get_input((await begin(backend)).run_id) is None


async def test_an_input_belongs_to_one_incarnation(backend: Backend) -> None:
    writer = await begin_with(backend, b"1")
    with pytest.raises(RunNotFound):
        await backend.get_input(writer.run_id, new_incarnation())
    await forget(backend, writer.run_id)
    await backend.create(new_run(writer.run_id))
    assert await backend.get_input(writer.run_id) is None


async def test_records_and_listings_are_stored_apart_from_inputs(backend: Backend) -> None:
    writer = await begin_with(backend, b'{"topic":"tea"}')
    assert (await backend.get(writer.run_id)).input is None
    (listed,) = (await backend.recent(status=None, limit=1, cursor=None)).items
    assert listed.input is None


@pytest.mark.parametrize("size", [1, 300_000])
@pytest.mark.parametrize("when", ["without events", "with events", "at the end"])
async def test_an_append_may_replace_the_input(backend: Backend, size: int, when: str) -> None:
    writer = await begin_with(backend, b'{"topic":"secret"}')
    await writer.write()
    kept, body = writer.run, b'{"topic":"' + b"*" * size + b'"}'
    writer.run = msgspec.structs.replace(kept, input=msgspec.Raw(body), input_excerpt="***")
    match when:
        case "without events":
            await backend.append(writer.run, [])
        case "with events":
            await writer.write(3)
        case "at the end":
            await writer.finish()
    assert await backend.get_input(writer.run_id) == body
    record = await backend.get(writer.run_id)
    (listed,) = (await backend.recent(status=None, limit=1, cursor=None)).items
    for each in (record, listed):
        assert (each.input, each.input_excerpt, each.truncated) == (None, "***", False)
    if not record.finished:
        writer.run = msgspec.structs.replace(writer.run, input=None)
        await writer.finish()
        assert await backend.get_input(writer.run_id) == body
