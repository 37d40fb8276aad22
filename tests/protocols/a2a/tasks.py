"""Tasks as clients of A2A put them together of a stream's updates."""

import json
from typing import Any

import msgspec

from dockrion.protocols.a2a.encoder import Snapshot
from dockrion.protocols.a2a.objects import Writer

Task = dict[str, Any]


def kind_of(result: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what a result of a stream is, by its name in version 0.3, and the object."""
    if "kind" in result:
        return result["kind"], {name: value for name, value in result.items() if name != "kind"}
    ((name, value),) = result.items()
    return {"statusUpdate": "status-update", "artifactUpdate": "artifact-update"}.get(name, name), value


def folded(task: Task, results: list[dict[str, Any]]) -> Task:
    """Return a task after updates, texts of a reply joined."""
    for result in results:
        kind, update = kind_of(result)
        if kind == "task":
            task = simplified(update)
            continue
        assert (update["taskId"], update["contextId"]) == (task["id"], task["contextId"])
        task = {**task, "artifacts": dict(task["artifacts"])}
        if kind == "status-update":
            task |= {"status": update["status"], "metadata": update.get("metadata")}
            continue
        artifact = update["artifact"]
        parts = [
            *(task["artifacts"][artifact["artifactId"]] if update.get("append") else []),
            *artifact["parts"],
        ]
        task["artifacts"][artifact["artifactId"]] = joined(parts)
    return task


def simplified(task: Task) -> Task:
    """Return a task with its artifacts by id, and always with metadata."""
    artifacts = {each["artifactId"]: joined(each["parts"]) for each in task.get("artifacts", ())}
    return {"metadata": None, **task, "artifacts": artifacts}


def joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an artifact's parts with its texts as one."""
    texts = [part["text"] for part in parts if "text" in part]
    return [{"text": "".join(texts)}] if texts else parts


def task_of(snapshot: Snapshot, writer: Writer) -> Task:
    return simplified(json.loads(msgspec.json.encode(snapshot.task(writer))))
