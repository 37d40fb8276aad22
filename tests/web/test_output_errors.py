"""Outputs that violate io_schema.output are returned with their errors."""

from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import Serve
from tests.exposition import metric
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


def priced(payload: dict[str, Any]) -> dict[str, Any]:
    return {"price": Decimal("1.10"), "note": Decimal("2.50")} | payload


PRICED = {"properties": {"price": {"type": "number"}, "note": {"type": "string"}}}


@pytest.mark.parametrize("padding", ["", "x" * 100_000])
async def test_a_decimal_is_a_number_where_the_schema_says_so(serve: Serve, padding: str) -> None:
    served = await serve(priced, io_schema={"output": PRICED})
    payload = {"padding": padding} if padding else {}
    async with served.client.post("/invoke", json=payload) as response:
        text = await response.text()
    assert '"output":{"price":1.10,"note":"2.50"' in text
    assert "output_errors" not in text

    async with served.stream(payload) as reader:
        last = data((await reader.all())[-1])
    record = await served.record(reader.run_id)
    assert last["output"] == record["output"] == {"price": 1.1, "note": "2.50"} | payload
    assert "output_errors" not in last["metadata"]


async def test_other_violations_remain(serve: Serve) -> None:
    served = await serve(priced, io_schema={"output": PRICED})
    async with served.client.post("/invoke", json={"note": 1}) as response:
        body = await response.json()
    assert body["output"] == {"price": 1.1, "note": 1}
    assert [error["path"] for error in body["metadata"]["output_errors"]] == ["$.note"]


async def test_a_redacted_decimal_stays_redacted(serve: Serve) -> None:
    policies = {"safety": {"redact_patterns": [r"1\.10"]}}
    served = await serve(priced, io_schema={"output": PRICED}, policies=policies)
    async with served.client.post("/invoke", json={}) as response:
        text = await response.text()
    assert "1.1" not in text


async def test_invalid_outputs_are_counted_and_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve(wrong, io_schema={"output": OUTPUT})
    run_id = await served.start()
    await served.finished(run_id)
    async with served.client.get("/metrics") as response:
        assert metric(await response.text(), "dockrion_output_errors_total") == 1
    (record,) = (record for record in caplog.records if "io_schema.output" in record.getMessage())
    assert record.levelname == "WARNING"
    assert vars(record)["fields"] == {"run_id": run_id, "paths": [error["path"] for error in ERRORS]}
