"""Outputs that violate io_schema.output are returned with their errors."""

import pytest

from tests.conftest import Serve
from tests.support import data

OUTPUT = {"properties": {"n": {"type": "integer"}}, "required": ["n"]}
WRONG = {"n": "x"}
ERRORS = [{"path": "$.n", "message": '"x" is not of type "integer"'}]


def wrong(_payload: object) -> dict[str, str]:
    return WRONG


async def test_invoke_returns_an_invalid_output_with_its_errors(serve: Serve) -> None:
    served = await serve(wrong, io_schema={"output": OUTPUT})
    async with served.client.post("/invoke", json={}) as response:
        assert response.status == 200
        body = await response.json()
    assert body["output"] == WRONG
    assert body["metadata"]["output_errors"] == ERRORS


async def test_run_completes_with_the_errors_of_its_output(serve: Serve) -> None:
    served = await serve(wrong, io_schema={"output": OUTPUT})
    async with served.stream() as reader:
        last = data((await reader.all())[-1])
    record = await served.record(reader.run_id)
    assert last["type"] == "complete"
    assert last["output"] == record["output"] == WRONG
    assert last["metadata"] == record["metadata"]
    assert record["metadata"]["output_errors"] == ERRORS


@pytest.mark.parametrize("io_schema", [{"output": OUTPUT, "strict": False}, {"output": None}])
async def test_output_is_not_validated_unless_strict(serve: Serve, io_schema: dict[str, object]) -> None:
    served = await serve(wrong, io_schema=io_schema)
    async with served.client.post("/invoke", json={}) as response:
        body = await response.json()
    assert body["output"] == WRONG
    assert "output_errors" not in body["metadata"]


async def test_valid_output_has_no_errors(serve: Serve) -> None:
    served = await serve(io_schema={"output": OUTPUT})
    async with served.client.post("/invoke", json={"n": 1}) as response:
        assert "output_errors" not in (await response.json())["metadata"]


async def test_invalid_outputs_are_counted_and_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve(wrong, io_schema={"output": OUTPUT})
    run_id = await served.start()
    await served.finished(run_id)
    async with served.client.get("/metrics") as response:
        assert "dockrion_output_errors_total 1.0" in await response.text()
    (record,) = (record for record in caplog.records if "io_schema.output" in record.getMessage())
    assert record.levelname == "WARNING"
    assert vars(record)["fields"] == {"run_id": run_id, "output_errors": ERRORS}
