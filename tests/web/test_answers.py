"""`POST /runs/{id}/input`: answers through HTTP, on every backend and from every replica."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import data, wait_until
from tests.web.answering import SCHEMA, accepted, answering, asks, listed, replicas, waiting
from tests.web.helpers import error_of


@pytest.mark.usefixtures("every_backend")
async def test_an_answer_reaches_the_agent_from_any_replica(serve: Serve) -> None:
    owner, other = await replicas(serve)
    quiet = await owner.start({"ask": []})
    await owner.finished(quiet)
    run_id = await owner.start()
    async with other.events(run_id) as reader:
        asked = data((await reader.until("input_requested"))[-1])
        question = await waiting(other, run_id)
        assert question == {name: asked[name] for name in ("request_id", "prompt", "schema", "expires_at")}
        assert question["prompt"] == "Send it?"
        assert question["schema"] == SCHEMA
        for replica in (owner, other):
            assert await listed(replica, waiting="true") == [run_id]
            assert await listed(replica, waiting="true", status="completed") == []
            assert set(await listed(replica, waiting="false")) == {run_id, quiet}
        request_id = question["request_id"]
        for replica in (owner, other):
            async with answering(replica, run_id, request_id, {"send": 1, "to": "x"}) as response:
                body = await error_of(response, 400, "VALIDATION_ERROR")
            assert sorted(each["path"] for each in body["details"]) == ["$.send", "$.to"]
        await accepted(other, run_id, request_id, {"send": True})
        received = data((await reader.until("input_received"))[-1])
        assert (received["request_id"], received["value"]) == (request_id, {"send": True})
        await reader.until("complete")
    for replica in (owner, other):
        async with answering(replica, run_id, request_id, {"send": True}) as response:
            await error_of(response, 409, "CONFLICT")
        record = await replica.finished(run_id)
        assert record["output"] == [{"send": True}]
        assert record["waiting_for"] is None
        assert await listed(replica, waiting="true") == []


@pytest.mark.usefixtures("every_backend")
async def test_of_many_answers_at_once_from_all_replicas_one_is_accepted(serve: Serve) -> None:
    both = await replicas(serve)
    run_id = await both[0].start({"ask": [{"prompt": "Which?"}]})
    request_id = (await waiting(both[1], run_id))["request_id"]

    async def status(number: int) -> int:
        async with answering(both[number % 2], run_id, request_id, number) as response:
            if response.status != 202:
                await error_of(response, 409, "CONFLICT")
            return response.status

    statuses = await asyncio.gather(*map(status, range(20)))
    assert sorted(statuses) == [202] + [409] * 19
    assert (await both[1].finished(run_id))["output"] == [statuses.index(202)]


@pytest.mark.usefixtures("every_backend")
async def test_an_answer_after_the_limit_is_refused(serve: Serve) -> None:
    owner, other = await replicas(serve)
    run_id = await owner.start({"ask": [{"prompt": "Now?", "timeout": 0.1}, {"prompt": "Then?"}]})
    async with other.events(run_id) as reader:
        first, second = [data((await reader.until("input_requested"))[-1]) for _ in range(2)]
    assert (first["prompt"], second["prompt"]) == ("Now?", "Then?")
    async with answering(other, run_id, first["request_id"], 1) as response:
        await error_of(response, 409, "CONFLICT")
    await accepted(other, run_id, second["request_id"], 2)
    assert (await owner.finished(run_id))["output"] == ["none", 2]


@pytest.mark.usefixtures("every_backend")
async def test_a_cancel_ends_the_wait(serve: Serve) -> None:
    owner, other = await replicas(serve)
    run_id = await owner.start()
    request_id = (await waiting(owner, run_id))["request_id"]
    async with other.client.delete(f"/runs/{run_id}") as response:
        assert response.status == 200
    record = await other.record(run_id)
    assert (record["status"], record["waiting_for"]) == ("cancelled", None)
    for replica in (owner, other):
        async with answering(replica, run_id, request_id, {"send": True}) as response:
            await error_of(response, 409, "CONFLICT")


@pytest.mark.usefixtures("every_backend")
async def test_a_secret_answer_is_seen_nowhere(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    got: list[Any] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        got.append(await context.ask("Password?", {"minLength": 12}, secret=True))

    owner, other = await replicas(serve, agent)
    run_id = await owner.start()
    question = await waiting(other, run_id)
    assert question["schema"] == {"minLength": 12, "writeOnly": True}
    for replica in (owner, other):
        async with answering(replica, run_id, question["request_id"], "hunter2") as response:
            await error_of(response, 400, "VALIDATION_ERROR")
            assert "hunter2" not in await response.text()
    await accepted(other, run_id, question["request_id"], "hunter2hunter2")
    await owner.finished(run_id)
    assert got == ["hunter2hunter2"]
    async with other.events(run_id) as reader:
        messages = await reader.all()
    async with other.client.get(f"/runs/{run_id}") as response:
        record = await response.text()
    assert "hunter2" not in record + reader.raw.decode() + caplog.text
    (received,) = [data(message) for message in messages if message.event == "input_received"]
    assert "value" not in received


@pytest.mark.parametrize("allowed", ["chat", ["input_requested"]])
@pytest.mark.usefixtures("every_backend")
async def test_runs_wait_also_where_the_filter_drops_the_events(serve: Serve, allowed: Any) -> None:
    owner, other = await replicas(serve, streaming={"events": {"allowed": allowed}})
    run_id = await owner.start()
    question = await waiting(other, run_id)
    await accepted(other, run_id, question["request_id"], {"send": False})
    record = await other.finished(run_id)
    assert record["output"] == [{"send": False}]
    assert record["last_sequence"] == (2 if allowed == "chat" else 3)


async def test_waiting_is_not_counted_where_the_dockfile_says_so(serve: Serve) -> None:
    served = await serve(asks, streaming={"events": {"max_run_duration": 20, "waiting_counts": False}})
    run_id = await served.start({"ask": [{"prompt": "?", "timeout": 60}]})
    question = await waiting(served, run_id)
    until = datetime.fromisoformat(question["expires_at"])
    assert (until - datetime.now(UTC)).total_seconds() > 30
    await accepted(served, run_id, question["request_id"], 1)
    assert (await served.finished(run_id))["output"] == [1]


async def test_the_caller_of_a_stream_can_answer(serve: Serve) -> None:
    served = await serve(asks)
    async with served.stream({"ask": [{"prompt": "?"}]}) as reader:
        question = data((await reader.until("input_requested"))[-1])
        await accepted(served, reader.run_id, question["request_id"], "yes")
        assert data((await reader.until("complete"))[-1])["output"] == ["yes"]


async def test_the_output_policy_masks_questions_and_answers_but_not_for_the_agent(serve: Serve) -> None:
    served = await serve(asks, policies={"safety": {"redact_patterns": ["sesame[0-9]*"]}})
    prompt, schema = "Is it sesame1?", {"description": "sesame2", "type": "string"}
    run_id = await served.start({"ask": [{"prompt": prompt, "schema": schema}]})
    question = await waiting(served, run_id)
    text = "sesame3" + " " * 40_000  # masked in a thread
    await accepted(served, run_id, question["request_id"], text)
    async with served.events(run_id) as reader:
        messages = await reader.all()
    assert "sesame" not in str(question)
    assert "sesame" not in "".join(each.data for each in messages if each.event != "complete")
    assert [each.event for each in messages][1:3] == ["input_requested", "input_received"]


async def test_halting_on_a_violation_ends_a_run_that_asks_for_it(serve: Serve) -> None:
    safety = {"redact_patterns": ["sesame"], "halt_on_violation": True}
    served = await serve(asks, policies={"safety": safety})
    run_id = await served.start({"ask": [{"prompt": "Is it sesame?"}]})
    record = await served.finished(run_id)
    assert record["error"]["code"] == "POLICY_VIOLATION"
    assert record["waiting_for"] is None


async def test_long_polls_and_websockets_see_questions_and_answers(serve: Serve) -> None:
    served = await serve(asks, expose={"streaming": "websocket"})
    run_id = await served.start({"ask": [{"prompt": "?"}]})
    async with served.client.ws_connect(f"/runs/{run_id}/ws") as socket:
        seen = [(await socket.receive_json())["type"] for _ in range(2)]
        assert seen == ["started", "input_requested"]
        question = await waiting(served, run_id)
        headers, query = {"Accept": "application/json"}, {"wait": "10", "from_sequence": "3"}
        poll = asyncio.create_task(served.client.get(f"/runs/{run_id}/events", headers=headers, params=query))
        await asyncio.sleep(0)
        await accepted(served, run_id, question["request_id"], 1)
        assert (await socket.receive_json())["type"] == "input_received"
    async with await poll as response:
        assert (await response.json())["events"][0]["type"] == "input_received"


async def test_sync_agents_wait_in_their_threads(serve: Serve) -> None:
    def agent(_payload: Any, context: StreamContext) -> Any:
        return context.sync_ask("?", {"type": "integer"})

    served = await serve(agent)
    runs = [await served.start() for _ in range(5)]
    questions = [await waiting(served, run_id) for run_id in runs]
    for number, (run_id, question) in enumerate(zip(runs, questions, strict=True)):
        await accepted(served, run_id, question["request_id"], number)
    assert [(await served.finished(run_id))["output"] for run_id in runs] == list(range(5))
    await wait_until(lambda: not len(served.service.runs._in_flight))
