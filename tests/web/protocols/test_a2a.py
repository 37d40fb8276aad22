"""A2A as other agents speak it: conversations of the SDK's client, in both versions of the protocol."""

from pathlib import Path
from typing import Any

import pytest
from a2a.client.errors import A2AClientError
from a2a.types import CancelTaskRequest, GetTaskRequest, SubscribeToTaskRequest
from a2a.utils.errors import (
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict

from dockrion import StreamContext
from dockrion.protocols.a2a.objects import Version
from tests.conftest import Serve
from tests.protocols.a2a.tasks import folded, simplified
from tests.protocols.logs import HOSTILE_TEXTS
from tests.support import wait_until
from tests.web.answering import SCHEMA, asks
from tests.web.credentials import api_keys, key_of
from tests.web.helpers import Waits
from tests.web.protocols.a2a_client import A2A, asking, received, sdk, sending

EVERY_VERSION = pytest.mark.parametrize("version", ["1.0", "0.3"])


async def forecasts(payload: dict[str, Any], context: StreamContext) -> Any:
    """Do what the message says."""
    question = payload["messages"][-1]["content"]
    await context.emit_progress("reading", 0.5, "half way")
    await context.emit_tool_call("search", {"q": question}, "c1")
    await context.emit_tool_result("c1", {"hits": 1})
    if question == "fail":
        raise ValueError("no forecast")
    if question == "plain":
        return "It snows."
    await context.emit_token("It ")
    await context.emit_token("rains.")
    answer = await context.ask("Send it?", SCHEMA)
    return {"sent": answer["send"]}


def task_id_of(updates: list[dict[str, Any]]) -> str:
    return str(updates[0]["task"]["id"])


def event_of(update: dict[str, Any]) -> Any:
    return update["statusUpdate"]["metadata"]["dockrion"]


@EVERY_VERSION
async def test_conversation_with_tools_progress_and_a_question(serve: Serve, version: Version) -> None:
    served = await serve(forecasts, expose=A2A)
    async with sdk(served, version) as client:
        updates = await received(client.send_message(asking("Rain?", context_id="trip")))
        task_id = task_id_of(updates)
        first, *others = updates
        assert first["task"]["status"]["state"] == "TASK_STATE_SUBMITTED"
        assert first["task"]["contextId"] == "trip"
        told = [event_of(each)["type"] for each in others if "statusUpdate" in each]
        assert told == ["started", "progress", "tool_call", "tool_result", "input_requested"]
        progress = others[1]["statusUpdate"]["status"]
        assert progress["message"]["parts"] == [{"text": "half way"}]
        assert progress["message"]["role"] == "ROLE_AGENT"
        assert event_of(others[2])["arguments"] == {"q": "Rain?"}
        assert others[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
        assert others[-1]["statusUpdate"]["status"]["message"]["parts"] == [{"text": "Send it?"}]
        assert event_of(others[-1])["schema"] == SCHEMA
        asked = MessageToDict(await client.get_task(GetTaskRequest(id=task_id)))
        assert simplified(asked) == folded({}, updates)

        with pytest.raises(InvalidParamsError, match="schema"):
            await received(client.send_message(sending({"send": "maybe"}, task_id=task_id)))
        with pytest.raises(InvalidParamsError, match="context"):
            await received(client.send_message(asking(task_id=task_id, context_id="other")))
        updates = await received(client.send_message(sending({"send": True}, task_id=task_id)))
        assert updates[0]["task"]["status"]["state"] != "TASK_STATE_INPUT_REQUIRED"
        done = folded({}, updates)
        assert done["status"]["state"] == "TASK_STATE_COMPLETED"
        assert done["artifacts"]["reply"] == [{"text": "It rains."}]
        assert done["artifacts"]["output"][0]["data"] == {"sent": True}
        assert simplified(MessageToDict(await client.get_task(GetTaskRequest(id=task_id)))) == done
        with pytest.raises(UnsupportedOperationError, match="has ended"):
            await received(client.send_message(asking(task_id=task_id)))
        if version == "1.0":
            with pytest.raises(UnsupportedOperationError, match="GetTask"):
                await received(client.subscribe(SubscribeToTaskRequest(id=task_id)))
        else:
            seen = await received(client.subscribe(SubscribeToTaskRequest(id=task_id)))
            assert [folded({}, [each]) for each in seen] == [done]


@EVERY_VERSION
async def test_message_that_waits_for_the_whole_task(serve: Serve, version: Version) -> None:
    served = await serve(forecasts, expose=A2A)
    async with sdk(served, version, streaming=False) as client:
        (found,) = await received(client.send_message(asking("plain")))
        assert found["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert [each["parts"] for each in found["task"]["artifacts"]] == [[{"text": "It snows."}]]
        (failed,) = await received(client.send_message(asking("fail")))
        assert failed["task"]["status"]["state"] == "TASK_STATE_FAILED"
        assert failed["task"]["status"]["message"]["parts"] == [{"text": "ValueError: no forecast"}]
        (asked,) = await received(client.send_message(asking("Rain?")))
        assert asked["task"]["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
        message = sending({"send": False}, task_id=asked["task"]["id"])
        (answered,) = await received(client.send_message(message))
        assert answered["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


@EVERY_VERSION
async def test_task_that_is_begun_and_cancelled(serve: Serve, version: Version) -> None:
    served = await serve(agent := Waits(), expose=A2A)
    async with sdk(served, version, streaming=False, polling=True) as client:
        (begun,) = await received(client.send_message(asking()))
        task_id = begun["task"]["id"]
        assert begun["task"]["status"]["state"] in ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")
        await wait_until(lambda: agent.payloads)
        with pytest.raises(UnsupportedOperationError, match="asked nothing"):
            await received(client.send_message(asking(task_id=task_id)))
        cancelled = MessageToDict(await client.cancel_task(CancelTaskRequest(id=task_id)))
        assert cancelled["status"]["state"] == "TASK_STATE_CANCELED"
        assert agent.stopped
        with pytest.raises(TaskNotCancelableError):
            await client.cancel_task(CancelTaskRequest(id=task_id))
        for unknown in ("unknown", "no id", "x" * 1000):
            with pytest.raises(TaskNotFoundError):
                await client.get_task(GetTaskRequest(id=unknown))


@EVERY_VERSION
async def test_watcher_of_a_task_gets_what_it_is_and_what_follows(serve: Serve, version: Version) -> None:
    served = await serve(agent := Waits(), expose=A2A)
    async with sdk(served, version, polling=True) as begins, sdk(served, version) as watches:
        stream = begins.send_message(asking())
        task_id = MessageToDict(await anext(stream))["task"]["id"]
        await stream.aclose()  # type: ignore[attr-defined]  # the client goes, the task does not
        watching = watches.subscribe(SubscribeToTaskRequest(id=task_id))
        first = await anext(watching)
        agent.go.set()
        updates = [MessageToDict(first), *await received(watching)]
        assert folded({}, updates)["artifacts"]["reply"] == [{"text": "firstlast"}]
        assert folded({}, updates)["status"]["state"] == "TASK_STATE_COMPLETED"
        assert agent.stopped == []


@EVERY_VERSION
async def test_texts_that_are_hard_to_carry(serve: Serve, version: Version) -> None:
    texts = [*HOSTILE_TEXTS, *"\x0b\x0c\x1c\x85\u2028\u2029"]

    async def echoes(_: Any, context: StreamContext) -> str:
        for text in texts:
            await context.emit_token(text)
            await context.emit_reasoning(text)
        await context.ask("\u2028?")
        return "unused"

    served = await serve(echoes, expose=A2A)
    async with sdk(served, version) as client:
        updates = await received(client.send_message(asking(context_id="\u2028\x85")))
        found = folded({}, updates)
        assert found["artifacts"]["reply"] == [{"text": "".join(texts)}]
        watching = client.subscribe(SubscribeToTaskRequest(id=found["id"]))
        assert folded({}, [MessageToDict(await anext(watching))]) == found
        await watching.aclose()  # type: ignore[attr-defined]


@EVERY_VERSION
async def test_agent_that_takes_data(serve: Serve, version: Version) -> None:
    schema = {"properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    served = await serve(lambda payload: payload, expose=A2A, io_schema={"input": schema})
    async with sdk(served, version) as client:
        done = folded({}, await received(client.send_message(sending({"city": "Rome"}))))
        assert done["artifacts"]["output"][0]["data"] == {"city": "Rome"}
        with pytest.raises(InvalidParamsError, match="io_schema"):
            await received(client.send_message(sending({"town": "Rome"})))


@EVERY_VERSION
async def test_limits_and_credentials(serve: Serve, tmp_path: Path, version: Version) -> None:
    async with api_keys() as auth:
        sections = auth.sections(tmp_path, rate_limits={"worker": "1/h"})
    served = await serve(asks, expose=A2A, limits={"max_body_bytes": 5000}, **sections)
    async with sdk(served, version) as nobody:
        with pytest.raises(A2AClientError, match="401"):
            await received(nobody.send_message(asking()))
    async with sdk(served, version, {"Authorization": f"Bearer {key_of('owner')}"}) as client:
        task_id = task_id_of(await received(client.send_message(asking())))
        with pytest.raises(A2AClientError, match="413"):
            await received(client.send_message(asking("x" * 6000)))
    async with sdk(served, version, auth.key("other")) as other:
        for refused in (
            other.get_task(GetTaskRequest(id=task_id)),
            other.cancel_task(CancelTaskRequest(id=task_id)),
            received(other.subscribe(SubscribeToTaskRequest(id=task_id))),
            received(other.send_message(sending({"send": True}, task_id=task_id))),
        ):
            with pytest.raises(TaskNotFoundError):
                await refused
    async with sdk(served, version, auth.key("peeping")) as peeping:
        assert (await peeping.get_task(GetTaskRequest(id=task_id))).id == task_id
        for forbidden in (
            peeping.cancel_task(CancelTaskRequest(id=task_id)),
            received(peeping.send_message(asking())),
        ):
            with pytest.raises(A2AClientError, match="403"):
                await forbidden
    async with sdk(served, version, auth.key("auditor")) as auditor:
        for forbidden in (
            auditor.cancel_task(CancelTaskRequest(id=task_id)),
            received(auditor.send_message(sending({"send": True}, task_id=task_id))),
        ):
            with pytest.raises(A2AClientError, match="403"):
                await forbidden
    async with sdk(served, version, auth.key("worker")) as worker:
        await received(worker.send_message(asking()))
        with pytest.raises(A2AClientError, match="429"):
            await received(worker.send_message(asking()))


@EVERY_VERSION
async def test_push_notifications_are_refused(serve: Serve, version: Version) -> None:
    served = await serve(forecasts, expose=A2A)
    async with sdk(served, version) as client:
        sent = asking()
        sent.configuration.task_push_notification_config.url = "https://example.org/"
        with pytest.raises(PushNotificationNotSupportedError):
            await received(client.send_message(sent))
