"""Tasks whose clients come and go: cut at every frame, watched from other replicas, answered there."""

import asyncio
import json
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.protocols.a2a.tasks import folded, simplified
from tests.protocols.logs import messages_of
from tests.support import Served, wait_until
from tests.web.answering import asks
from tests.web.helpers import Waits, gauge
from tests.web.protocols.a2a_client import (
    END,
    call,
    cut_after,
    kinds_of,
    message,
    pair,
    posted,
    results_of,
    state_of,
    streamed,
)
from tests.web.protocols.ag_ui_client import talks
from tests.web.repeating import EVERY_BACKEND, KEY

EVERY_VERSION = pytest.mark.parametrize("version", ["1.0", "0.3"])


def subscription(task_id: str, version: Any = "1.0") -> dict[str, Any]:
    return call("SubscribeToTask", {"id": task_id}, version)


async def posted_or_streamed(served: Served, body: dict[str, Any]) -> bytes:
    async with served.client.post("/a2a", json=body) as response:
        return await response.read()


async def begun(served: Served, frames: int, version: Any = "1.0") -> tuple[str, bytes]:
    """Begin a task, and leave after so many frames; return its id and the frames."""
    body = call("SendStreamingMessage", message(), version)
    async with served.client.post("/a2a", json=body) as response:
        assert response.status == 200
        return response.headers["X-Run-Id"], await cut_after(response, frames)


@EVERY_BACKEND
@EVERY_VERSION
async def test_stream_cut_after_every_frame_goes_on_at_another_replica(serve: Serve, version: Any) -> None:
    here, there = await pair(serve, talks)
    whole = await streamed(here, call("SendStreamingMessage", message(), version))
    task = folded({}, results_of(whole))
    count = whole.count(END)
    assert count == 13
    for number in range(1, count + 1):
        task_id, before = await begun(here, number, version)
        await here.finished(task_id)
        last = messages_of(before)[-1].id or ""
        rest = await streamed(there, subscription(task_id, version), headers={"Last-Event-ID": last})
        done = folded({}, results_of(before + rest))
        assert (done["artifacts"], state_of(done)) == (task["artifacts"], state_of(task))
        assert len(messages_of(before + rest)) == count
        again = await posted_or_streamed(there, subscription(task_id, version))
        if version == "1.0":
            assert json.loads(again)["error"]["code"] == -32004
        else:
            assert kinds_of(again) == ["task"]
            assert folded({}, results_of(again)) == done


@EVERY_BACKEND
async def test_watchers_of_an_agent_at_work(serve: Serve) -> None:
    here, there = await pair(serve, agent := Waits())
    task_id, before = await begun(here, 3)
    last = messages_of(before)[-1].id or ""
    open_streams = there.service.metrics.requests.open_streams
    await wait_until(lambda: gauge(open_streams) == 0)
    watching = [
        asyncio.create_task(streamed(there, subscription(task_id), headers=headers))
        for headers in ({}, {"Last-Event-ID": last}, {"Last-Event-ID": "99"})
    ]
    await wait_until(lambda: gauge(open_streams) == len(watching))
    agent.go.set()
    snapshot, missed, of_another_run = await asyncio.gather(*watching)
    assert kinds_of(snapshot)[0] == "task"
    assert results_of(snapshot)[0]["task"]["artifacts"][0]["parts"] == [{"text": "first"}]
    assert folded({}, results_of(snapshot)) == folded({}, results_of(before + missed))
    assert before.endswith(of_another_run[: -len(missed)])
    assert folded({}, results_of(snapshot))["artifacts"]["reply"] == [{"text": "firstlast"}]
    assert agent.stopped == []


@EVERY_BACKEND
async def test_answer_goes_on_with_the_task_from_any_replica(serve: Serve) -> None:
    here, there = await pair(serve, asks)
    asked = await streamed(here, call("SendStreamingMessage", message({"data": {}})))
    task = folded({}, results_of(asked))
    assert state_of(task) == "TASK_STATE_INPUT_REQUIRED"
    for served in (here, there):  # nothing follows until there is an answer
        (waiting,) = results_of(await streamed(served, subscription(task["id"], "0.3")))
        assert state_of(waiting) == "input-required"
        found = await posted(served, call("GetTask", {"id": task["id"]}))
        assert state_of(found["result"]) == "TASK_STATE_INPUT_REQUIRED"
    answer = message({"text": '{"send": true}'}, taskId=task["id"])
    answered = await streamed(there, call("SendStreamingMessage", answer))
    assert state_of(results_of(answered)[0]["task"]) in ("TASK_STATE_WORKING", "TASK_STATE_COMPLETED")
    done = folded({}, results_of(answered))
    assert done["artifacts"]["output"][0]["data"] == [{"send": True}]
    last = messages_of(asked)[-1].id or ""
    rest = await streamed(here, subscription(task["id"]), headers={"Last-Event-ID": last})
    assert folded({}, results_of(asked + rest)) == done
    refused = await posted(here, call("SendMessage", answer))
    assert refused["error"]["code"] == -32004


async def test_answer_of_a_client_that_names_its_last_frame_is_followed_by_the_next(serve: Serve) -> None:
    served, _ = await pair(serve, asks)
    asked = await streamed(served, call("SendStreamingMessage", message({"data": {}})))
    task = folded({}, results_of(asked))
    answer = call("SendStreamingMessage", message({"data": {"send": True}}, taskId=task["id"]))
    refused = await posted(served, answer, headers={"Last-Event-ID": "?"})
    assert refused["error"]["code"] == -32602
    last = messages_of(asked)[-1].id or ""
    rest = await streamed(served, answer, headers={"Last-Event-ID": last})
    whole = await streamed(served, subscription(task["id"]), headers={"Last-Event-ID": "0"})
    assert messages_of(asked + rest)[1:] == messages_of(whole)


async def test_subscription_names_the_place_where_it_begins(serve: Serve) -> None:
    served, _ = await pair(serve, agent := Waits())
    task_id, _ = await begun(served, 3)
    open_streams = served.service.metrics.requests.open_streams
    await wait_until(lambda: gauge(open_streams) == 0)
    watching = asyncio.create_task(streamed(served, subscription(task_id)))
    await wait_until(lambda: gauge(open_streams) == 1)
    agent.go.set()
    opening, *rest = messages_of(await watching)
    await served.finished(task_id)
    missed = await streamed(served, subscription(task_id), headers={"Last-Event-ID": opening.id or ""})
    assert messages_of(missed) == rest


@EVERY_BACKEND
async def test_watchers_in_version_1_0_stay_when_the_agent_asks(serve: Serve) -> None:
    here, there = await pair(serve, asks)
    asked = await streamed(here, call("SendStreamingMessage", message({"data": {}})))
    task = folded({}, results_of(asked))
    open_streams = there.service.metrics.requests.open_streams
    await wait_until(lambda: gauge(open_streams) == 0)
    last = messages_of(asked)[-1].id or ""
    watching = [
        asyncio.create_task(streamed(there, subscription(task["id"]), headers=headers))
        for headers in ({}, {"Last-Event-ID": last})
    ]
    await wait_until(lambda: gauge(open_streams) == len(watching))
    answer = call("SendMessage", message({"data": {"send": True}}, taskId=task["id"]))
    done = simplified((await posted(here, answer))["result"]["task"])
    snapshot, missed = await asyncio.gather(*watching)
    assert state_of(results_of(snapshot)[0]["task"]) == "TASK_STATE_INPUT_REQUIRED"
    assert folded({}, results_of(snapshot)) == folded({}, results_of(asked + missed)) == done


async def test_client_that_leaves_stops_the_agent_only_if_it_says_so(serve: Serve) -> None:
    served, _ = await pair(serve, agent := Waits(), streaming={"connection": {"on_disconnect": "cancel"}})
    for query, parts in (("?on_disconnect=cancel", 2), ("", 2)):
        body = call("SendStreamingMessage", message(contextId=query or "stays"))
        async with served.client.post(f"/a2a{query}", json=body) as response:
            await cut_after(response, parts)
        await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 0)
    await wait_until(lambda: agent.stopped)
    agent.go.set()
    await wait_until(lambda: agent.ended)
    assert (len(agent.stopped), len(agent.ended)) == (1, 1)
    waits = call("SendMessage", message())
    agent.go.clear()
    posting = asyncio.create_task(posted(served, waits, params={"on_disconnect": "cancel"}))
    await wait_until(lambda: len(agent.payloads) == 3)
    posting.cancel()
    await wait_until(lambda: len(agent.stopped) == 2)


async def test_question_to_a_client_that_would_cancel_leaves_the_task_waiting(serve: Serve) -> None:
    served, _ = await pair(serve, asks)
    body = call("SendMessage", message({"data": {}}))
    task = (await posted(served, body, params={"on_disconnect": "cancel"}))["result"]["task"]
    assert state_of(task) == "TASK_STATE_INPUT_REQUIRED"
    answer = message({"data": {"send": True}}, taskId=task["id"])
    sent = await posted(served, call("SendMessage", answer), params={"on_disconnect": "cancel"})
    assert state_of(sent["result"]["task"]) == "TASK_STATE_COMPLETED"


async def test_request_with_a_key_is_carried_out_once(serve: Serve) -> None:
    served, _ = await pair(serve, agent := Waits())
    agent.go.set()
    body = call("SendStreamingMessage", message())
    first = await streamed(served, body, headers=KEY)
    assert await streamed(served, body, headers=KEY) == first
    assert len(agent.payloads) == 1


async def test_what_is_no_longer_stored_is_said_and_the_reply_comes_from_the_output(serve: Serve) -> None:
    async def counts(_: Any, context: StreamContext) -> str:
        for number in range(30):
            await context.emit_token(f"{number} ")
        return "all of it"

    served, _ = await pair(serve, counts, streaming={"redis": {"max_events_per_run": 10}})
    run_id = await served.start()
    await served.finished(run_id)
    for version, headers in (("0.3", {}), ("1.0", {"Last-Event-ID": "3.1"})):
        results = results_of(await streamed(served, subscription(run_id, version), headers=headers))
        if headers:
            assert results[0]["statusUpdate"]["metadata"]["dockrion"]["type"] == "gap"
            assert results[1]["artifactUpdate"]["artifact"]["parts"] == [{"text": "all of it"}]
        else:
            assert results[0]["artifacts"][0]["parts"] == [{"kind": "text", "text": "all of it"}]


async def test_run_that_was_started_elsewhere_is_a_task(serve: Serve) -> None:
    served, _ = await pair(serve, talks)
    run_id = await served.start()
    await served.finished(run_id)
    task = (await posted(served, call("GetTask", {"id": run_id})))["result"]
    assert (task["id"], task["contextId"], state_of(task)) == (run_id, run_id, "TASK_STATE_COMPLETED")
