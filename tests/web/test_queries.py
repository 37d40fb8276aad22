"""Query parameters, run ids and cursors."""

import pytest

from tests.conftest import Serve
from tests.web.helpers import error_of

NOT_NUMBERS = ["", "x", "1.5", "-1", "+1", " 1", "1_0", "0x1", "٣", "1e3", "9" * 30]
BAD_IDS = ["", "-a", "_a", "a b", "a.b", "a:b", "ä", "a" * 129, "a%0Ab", "a%00", "a%2Fb", "%ff", "٣"]
GOOD_IDS = ["a", "7", "A-b_C-9", "a" * 128, "0" * 128]


@pytest.mark.parametrize("text", NOT_NUMBERS)
async def test_bad_from_sequence_is_refused(serve: Serve, text: str) -> None:
    served = await serve()
    await served.start(run_id="r")
    async with served.client.get("/runs/r/events", params={"from_sequence": text}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert "from_sequence" in body["error"]


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "0", "3601"])
async def test_bad_timeout_is_refused(serve: Serve, text: str) -> None:
    served = await serve()
    await served.start(run_id="r")
    async with served.client.get("/runs/r/events", params={"timeout": text}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert "timeout" in body["error"]


@pytest.mark.parametrize("text", ["1", "3600"])
async def test_timeout_at_its_limits_is_accepted(serve: Serve, text: str) -> None:
    served = await serve()
    await served.start(run_id="r")
    async with served.events("r", timeout=text) as reader:
        assert (await reader.all())[-1].event == "complete"


@pytest.mark.parametrize("text", ["", "2", "yes", "TRUE", "null"])
async def test_bad_strict_is_refused(serve: Serve, text: str) -> None:
    served = await serve()
    await served.start(run_id="r")
    async with served.client.get("/runs/r/events", params={"strict": text}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert "strict" in body["error"]


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "9" * 30, "1 2", "٣"])
async def test_bad_last_event_id_is_refused(serve: Serve, text: str) -> None:
    served = await serve()
    await served.start(run_id="r")
    async with served.client.get("/runs/r/events", headers={"Last-Event-ID": text}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert "Last-Event-ID" in body["error"]


@pytest.mark.parametrize("text", ["", "stop", "CANCEL", "cancel,continue"])
async def test_bad_on_disconnect_is_refused(serve: Serve, text: str) -> None:
    served = await serve()
    async with served.client.post("/invoke/stream", json={}, params={"on_disconnect": text}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert "on_disconnect" in body["error"]
    assert not served.backend._logs


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("limit", text) for text in [*NOT_NUMBERS, "0", "501"]),
        *(("status", text) for text in ["", "done", "Running", "running,failed"]),
        *(("cursor", text) for text in ["", "x", "-1", "٣", "9" * 30, "1'--"]),
    ],
)
async def test_bad_query_of_the_listing_is_refused(serve: Serve, name: str, text: str) -> None:
    served = await serve()
    async with served.client.get("/runs", params={name: text}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert name in body["error"]


async def test_too_long_reason_is_refused(serve: Serve) -> None:
    served = await serve()
    await served.start(run_id="r")
    async with served.client.delete("/runs/r", params={"reason": "x" * 1001}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert "reason" in body["error"]


@pytest.mark.parametrize("run_id", [run_id for run_id in BAD_IDS if run_id])
@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("GET", "/events"), ("DELETE", "")])
async def test_bad_run_id_in_a_path_is_refused(serve: Serve, run_id: str, method: str, suffix: str) -> None:
    served = await serve()
    async with served.client.request(method, f"/runs/{run_id}{suffix}") as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert "run id" in body["error"]


@pytest.mark.parametrize("run_id", BAD_IDS)
async def test_bad_run_id_of_a_client_is_refused(serve: Serve, run_id: str) -> None:
    served = await serve()
    async with served.client.post(f"/runs?run_id={run_id}", json={}) as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert "run id" in body["error"]
    assert not served.backend._logs


@pytest.mark.parametrize("run_id", GOOD_IDS)
async def test_good_run_id_of_a_client_is_used(serve: Serve, run_id: str) -> None:
    served = await serve()
    assert await served.start(run_id=run_id) == run_id
    assert (await served.finished(run_id))["run_id"] == run_id


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("GET", "/events"), ("DELETE", "")])
async def test_unknown_run_is_not_found(serve: Serve, method: str, suffix: str) -> None:
    served = await serve()
    async with served.client.request(method, f"/runs/unknown{suffix}") as response:
        body = await error_of(response, 404, "NOT_FOUND")
    assert "unknown" in body["error"]


async def test_unknown_query_parameters_change_nothing(serve: Serve) -> None:
    served = await serve()
    async with served.client.post("/invoke?debug=1&x", json={}) as response:
        assert response.status == 200
