"""Push notifications of A2A: webhooks to the URL that a client names with its message."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from a2a.compat.v0_3.types import Task
from a2a.types import (
    AuthenticationInfo,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    StreamResponse,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import InvalidParamsError, UnsupportedOperationError
from google.protobuf.json_format import MessageToDict, ParseDict

from dockrion import StreamContext
from dockrion.protocols.a2a.objects import Version
from tests.conftest import Serve
from tests.protocols.a2a.tasks import kind_of
from tests.web.protocols.a2a_client import A2A, asking, call, message, posted, received, sdk
from tests.web.protocols.test_a2a import EVERY_VERSION
from tests.web.test_webhooks import HOSTS
from tests.webhooks.receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def forecasts(payload: Any) -> Any:
    if payload["messages"][-1]["content"] == "fail":
        raise ValueError("no forecast")
    return {"answer": "It rains.", "chance": 1}


def pushed(text: str, url: str) -> Any:
    sent = asking(text, context_id="trip")
    how = AuthenticationInfo(scheme="Bearer", credentials="of the receiver")
    config = TaskPushNotificationConfig(id="mine", url=url, token="token-1", authentication=how)
    sent.configuration.task_push_notification_config.CopyFrom(config)
    return sent


@pytest.mark.usefixtures("every_backend")
@EVERY_VERSION
async def test_end_of_a_task_is_told(serve: Serve, receiver: Receiver, version: Version) -> None:
    served = await serve(forecasts, expose=A2A, webhooks=HOSTS)
    async with sdk(served, version) as client:
        for number, text in ((2, "rain"), (4, "fail")):
            updates = await received(client.send_message(pushed(text, receiver.url)))
            task_id = updates[0]["task"]["id"]
            await receiver.wait_for(number)
            body, headers = receiver.received[-1], receiver.headers[-1]
            assert states_of(receiver)[-2] == ("working", task_id)
            assert headers["X-A2A-Notification-Token"] == "token-1"
            assert headers["Authorization"] == "Bearer of the receiver"
            if version == "1.0":
                ParseDict(body, StreamResponse())
            else:
                Task.model_validate(body)
            kind, task = kind_of(body)
            assert (kind, task["id"], task["contextId"]) == ("task", task_id, "trip")
            state = task["status"]["state"].removeprefix("TASK_STATE_").lower()
            assert state == ("completed" if text == "rain" else "failed")
            if text == "rain":
                reply, output = (each["parts"][0] for each in task["artifacts"])
                assert (reply["text"], output["data"]["chance"]) == ("It rains.", 1)
            else:
                assert task["status"]["message"]["parts"][0]["text"] == "ValueError: no forecast"

            found = await client.get_task_push_notification_config(
                GetTaskPushNotificationConfigRequest(task_id=task_id, id="mine")
            )
            config = {"id": "mine", "taskId": task_id, "url": receiver.url, "token": "token-1"}
            assert MessageToDict(found) == config
            listed = await client.list_task_push_notification_configs(
                ListTaskPushNotificationConfigsRequest(task_id=task_id)
            )
            assert MessageToDict(listed)["configs"] == [config]


def states_of(receiver: Receiver) -> list[Any]:
    """Return the states that a receiver was told, each with its task."""
    told: list[Any] = []
    for body in receiver.received:
        kind, value = kind_of(body)
        if kind == "status-update":
            ParseDict(body, StreamResponse())
        state = value["status"]["state"].removeprefix("TASK_STATE_").lower().replace("_", "-")
        told.append((state, value.get("taskId", value.get("id"))))
    return told


@EVERY_VERSION
async def test_question_is_told_and_answered(serve: Serve, receiver: Receiver, version: Version) -> None:
    async def asks(_: Any, context: StreamContext) -> str:
        await context.emit_token("Hm.")
        return str(await context.ask("Well?"))

    served = await serve(asks, expose=A2A, webhooks=HOSTS)
    async with sdk(served, version, streaming=False) as client:
        (found,) = await received(client.send_message(pushed("rain", receiver.url)))
        await receiver.wait_for(2)
        _, asked = kind_of(receiver.received[-1])
        assert asked["status"]["message"]["parts"][0]["text"] == "Well?"
        await received(client.send_message(asking("yes", task_id=found["task"]["id"])))
        await receiver.wait_for(4)
    states = ["working", "input-required", "working", "completed"]
    assert states_of(receiver) == [(state, found["task"]["id"]) for state in states]


@EVERY_VERSION
async def test_push_notifications_that_are_not_possible(
    serve: Serve, receiver: Receiver, version: Version
) -> None:
    served = await serve(forecasts, expose=A2A, webhooks=HOSTS)
    async with sdk(served, version) as client:
        assert client._card.capabilities.push_notifications  # type: ignore[attr-defined]
        for url in ("http://other.example/hook", "file:///etc/passwd", f"{receiver.url}#a2a=e30="):
            with pytest.raises(InvalidParamsError, match="push notifications"):
                await received(client.send_message(pushed("rain", url)))
        updates = await received(client.send_message(asking("rain")))
        task_id = updates[0]["task"]["id"]
        config = TaskPushNotificationConfig(task_id=task_id, url=receiver.url)
        with pytest.raises(UnsupportedOperationError, match="begins a task"):
            await client.create_task_push_notification_config(config)
        listed = await client.list_task_push_notification_configs(
            ListTaskPushNotificationConfigsRequest(task_id=task_id)
        )
        assert not listed.configs
    assert receiver.received == []


async def test_headers_of_clients_are_checked(serve: Serve, receiver: Receiver) -> None:
    served = await serve(forecasts, expose=A2A, webhooks=HOSTS)
    for wrong in (
        {"token": "a\r\nHost: x"},
        {"authentication": {"scheme": "B\n", "credentials": "x"}},
        {"authentication": {"schemes": ["Bearer"] * 17}},
    ):
        config = {"url": receiver.url, **wrong}
        params = message() | {"configuration": {"taskPushNotificationConfig": config}}
        refused = await posted(served, call("SendMessage", params))
        assert refused["error"]["code"] == -32602
