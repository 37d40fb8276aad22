"""Lists of A2A's tasks, by the SDK's client and plain."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from a2a.client import Client
from a2a.types import GetTaskRequest, ListTasksRequest, TaskState

from dockrion import StreamContext
from dockrion.web.protocols.a2a import listing
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS
from tests.web.credentials import api_keys, key_of
from tests.web.protocols.a2a_client import A2A, asking, call, pair, posted, received, sdk
from tests.web.repeating import EVERY_BACKEND


async def acts(payload: dict[str, Any], context: StreamContext) -> str:
    """Do what the message says."""
    match payload["messages"][-1]["content"]:
        case "fail":
            raise ValueError("no")
        case "ask":
            await context.ask("Well?")
        case "wait":
            await context.emit_token("waiting")
            await asyncio.Event().wait()
    await context.emit_token("Done")
    await context.emit_token(".")
    return "Done."


async def listed(client: Client, **fields: Any) -> list[str]:
    """Return the ids of the tasks on a page."""
    return [task.id for task in (await client.list_tasks(ListTasksRequest(**fields))).tasks]


async def told(client: Client, text: str, **fields: Any) -> str:
    """Begin a task, and return its id."""
    (found,) = await received(client.send_message(asking(text, **fields)))
    return str(found["task"]["id"])


@EVERY_BACKEND
async def test_tasks_are_listed_by_state_context_and_time_on_every_page(serve: Serve) -> None:
    here, there = await pair(serve, acts)
    async with sdk(here, "1.0", streaming=False) as client, sdk(there, "1.0") as other:
        done = await told(client, "go", context_id="trip")
        failed = await told(client, "fail")
        asked = await told(client, "ask", context_id="trip")
        async with sdk(here, "1.0", streaming=False, polling=True) as poller:
            working = await told(poller, "wait")
            cancelled = await told(poller, "wait")
        await posted(here, call("CancelTask", {"id": cancelled}))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await listed(other, status=TaskState.TASK_STATE_WORKING) != [working]:
                await asyncio.sleep(0.005)
        everything = [cancelled, working, asked, failed, done]
        assert await listed(other) == everything
        by_state = {
            TaskState.TASK_STATE_SUBMITTED: [],
            TaskState.TASK_STATE_WORKING: [working],
            TaskState.TASK_STATE_INPUT_REQUIRED: [asked],
            TaskState.TASK_STATE_COMPLETED: [done],
            TaskState.TASK_STATE_FAILED: [failed],
            TaskState.TASK_STATE_CANCELED: [cancelled],
            TaskState.TASK_STATE_REJECTED: [],
            TaskState.TASK_STATE_AUTH_REQUIRED: [],
        }
        for state, tasks in by_state.items():
            page = await other.list_tasks(ListTasksRequest(status=state))
            assert [task.id for task in page.tasks] == tasks
            assert [task.status.state for task in page.tasks] == [state] * len(tasks)
        assert await listed(other, context_id="trip") == [asked, done]
        assert await listed(other, context_id=failed) == [failed]
        assert await listed(other, context_id="trip", status=TaskState.TASK_STATE_COMPLETED) == [done]
        for size in (1, 2, 5):
            seen, token, pages = [], "", 0
            while not pages or token:
                page = await other.list_tasks(ListTasksRequest(page_size=size, page_token=token))
                seen += [task.id for task in page.tasks]
                token, pages = page.next_page_token, pages + 1
                assert page.page_size == size
                assert page.total_size == (5 if size == 5 and not token else -1)
            assert seen == everything
        (task,) = (await other.list_tasks(ListTasksRequest(context_id=failed))).tasks
        assert task.status.state == TaskState.TASK_STATE_FAILED
        at = task.status.timestamp.ToDatetime(UTC)
        run = await here.finished(failed)
        assert at == datetime.fromisoformat(run["completed_at"])
        assert await listed(other, status_timestamp_after=at) == [cancelled, working, asked, failed]
        assert await listed(other, status_timestamp_after=datetime.now(UTC) + timedelta(hours=1)) == []


async def test_tasks_with_their_artifacts_are_as_they_are_got_and_bounded(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(acts, expose=A2A)
    async with sdk(served, "1.0", streaming=False) as client:
        for text in ("go", "fail", "ask"):
            await told(client, text)
        page = await client.list_tasks(ListTasksRequest(include_artifacts=True, history_length=0))
        assert page.page_size == 10
        assert [len(task.artifacts) for task in page.tasks] == [0, 0, 1]
        for task in page.tasks:
            assert task == await client.get_task(GetTaskRequest(id=task.id))
        plain = await posted(served, call("ListTasks", {"page_size": 3, "include_artifacts": False}))
        assert plain["result"]["pageSize"] == 3
        assert not [task for task in plain["result"]["tasks"] if "artifacts" in task]
        monkeypatch.setattr(listing, "_MAX_PAGE_BYTES", 1)
        found: dict[str, Any] = {"nextPageToken": ""}
        for task in page.tasks:
            params = {"includeArtifacts": True, "pageToken": found["nextPageToken"]}
            found = (await posted(served, call("ListTasks", params)))["result"]
            assert [each["id"] for each in found["tasks"]] == [task.id]
        assert found["nextPageToken"] == ""


async def test_a_rare_task_is_found_in_bounded_steps(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_MAX_RUNS", 3)
    monkeypatch.setattr(listing, "_MAX_READS", 2)
    served = await serve(acts, expose=A2A)
    async with sdk(served, "1.0", streaming=False) as client:
        rare = [await told(client, "go", context_id=name) for name in ["rare"] + 7 * ["x"] + ["rare"]]
        page = await client.list_tasks(ListTasksRequest(context_id="rare"))
        assert [task.id for task in page.tasks] == rare[-1:]
        rest = ListTasksRequest(context_id="rare", page_token=page.next_page_token)
        page = await client.list_tasks(rest)
        assert ([task.id for task in page.tasks], page.next_page_token) == (rare[:1], "")


async def test_only_the_callers_own_tasks_are_listed(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(acts, expose=A2A, **mode.sections(tmp_path))
        async with (
            sdk(served, "1.0", {"X-API-Key": key_of("owner")}, streaming=False) as owner,
            sdk(served, "1.0", {"X-API-Key": key_of("other")}) as other,
        ):
            task_id = await told(owner, "go")
            assert await listed(owner) == [task_id]
            assert await listed(other) == []
        async with served.client.post("/a2a", json=call("ListTasks", {})) as response:
            assert response.status == 401


async def test_what_cannot_be_listed_by_is_refused(serve: Serve) -> None:
    served = await serve(acts, expose=A2A)
    for params in (
        {"pageSize": 0},
        {"pageSize": 101},
        {"pageToken": "x"},
        {"status": "working"},
        {"historyLength": -1},
        {"statusTimestampAfter": "yesterday"},
        {"statusTimestampAfter": "2026-01-01T00:00:00"},
        {"lastUpdatedAfter": 1},
        {"tenant": "acme"},
    ):
        refused = await posted(served, call("ListTasks", params))
        assert refused["error"]["code"] == -32602, params
