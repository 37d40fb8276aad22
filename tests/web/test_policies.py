"""Output policies: masking and truncation wherever callers see an agent's texts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.policies.patterns import MASK
from dockrion.runs.outcome import Stop
from tests.agents.harness import COMMON
from tests.agents.kinds import EVERY_KIND, SPELL
from tests.conftest import Serve
from tests.support import Served, data
from tests.web.helpers import Waits, error_of
from tests.web.policy_agents import (
    CHECKPOINTS,
    OUTPUT,
    PATTERN,
    SAID,
    SECRET,
    emits_everything,
    logged,
    safety,
    stored_events,
    stored_text,
    sync_twin,
    text,
)


async def listed(served: Served) -> str:
    async with served.client.get("/runs") as response:
        return await response.text()


@pytest.mark.usefixtures("every_backend")
async def test_every_string_of_every_event_is_masked(serve: Serve) -> None:
    served = await serve(emits_everything, policies=safety())
    async with served.stream() as reader:
        events = [data(message) for message in await reader.all()]
    async with served.events(reader.run_id) as again:
        assert [data(message) for message in await again.all()] == events
    assert SECRET not in await stored_text(served, reader.run_id)
    assert text(events) == f"a {MASK} b secret-12"
    assert [event["finish_reason"] for event in events if event["type"] == "token"][-2:] == [MASK, None]
    for event in events:
        if event["type"] in SAID:
            assert {name: event[name] for name in event.keys() - COMMON} == SAID[event["type"]]
    assert [
        (event["name"], event["data"]) for event in events if event["type"] == "checkpoint"
    ] == CHECKPOINTS
    assert events[-1]["output"] == OUTPUT
    assert (await served.record(reader.run_id))["output"] == OUTPUT


@pytest.mark.usefixtures("every_backend")
async def test_texts_of_a_sync_handler_are_masked(serve: Serve) -> None:
    served = await serve(sync_twin, policies=safety())
    run_id = await served.start({"in": SECRET})
    await served.finished(run_id)
    assert text(await stored_events(served, run_id)) == f"a {MASK} b secret-12"
    assert SECRET not in await stored_text(served, run_id)


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_events_of_every_kind_of_agent_are_masked(kind: str, serve: Serve, tmp_path: Path) -> None:
    served = await serve(policies=safety(redact_patterns=["a?bc"]))
    async with EVERY_KIND[kind](tmp_path) as made:
        served.service.runs.agent = made.agent
        async with served.stream(SPELL) as reader:
            events = [data(message) for message in await reader.all()]
        async with served.client.post("/invoke", json=SPELL) as response:
            invoked = await response.text()
    assert text(events) == MASK
    assert events[-1]["output"].items() >= {"text": MASK}.items()
    assert MASK in invoked
    assert '"abc"' not in invoked + await stored_text(served, reader.run_id)


UNCHANGED: list[Any] = [None, True, 1, 2.5, 2**70, "", [], {}, "secret-123", "ä\n\u2028🙂"]


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (SECRET, MASK),
        ([SECRET, [f"a{SECRET}"]], [MASK, [f"a{MASK}"]]),
        ({SECRET: {"b": SECRET}}, {MASK: {"b": MASK}}),
        *[(value, value) for value in UNCHANGED],
    ],
)
async def test_outputs_of_every_type_keep_their_structure(serve: Serve, output: Any, shown: Any) -> None:
    served = await serve(lambda _payload: output, policies=safety())
    async with served.client.post("/invoke", json={}) as response:
        assert (await response.json())["output"] == shown
    record = await served.finished(await served.start())
    assert record["output"] == shown


async def test_output_errors_are_masked(serve: Serve) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "n": {"type": "string"}}}
    served = await serve(
        lambda _payload: {"a": SECRET, "n": 12345678},
        policies=safety(redact_patterns=[PATTERN, r"\d{8}"]),
        io_schema={"output": schema},
    )
    with logged() as log:
        async with served.client.post("/invoke", json={}) as response:
            body = await response.json()
        run_id = await served.start()
        record = await served.finished(run_id)
    errors = [
        {"path": "$.a", "message": f'"{MASK}" is not of type "integer"'},
        {"path": "$.n", "message": f'{MASK} is not of type "string"'},
    ]
    assert body["metadata"]["output_errors"] == record["metadata"]["output_errors"] == errors
    assert SECRET not in await stored_text(served, run_id) + log.getvalue()
    assert "12345678 " not in log.getvalue()


class SecretError(Exception):
    """The agent's exception."""


def raises(payload: Any) -> None:
    raise SecretError("x" * payload["before"] + SECRET) from SecretError(f"about {SECRET}")


async def test_errors_are_masked_before_truncation_and_in_the_log(serve: Serve) -> None:
    served = await serve(raises, policies=safety())
    with logged() as log:
        for before in (0, 3980, 3985):
            payload = {"before": before}
            async with served.client.post("/invoke", json=payload) as response:
                body = await error_of(response, 500, "AGENT_EXECUTION_ERROR")
            run_id = await served.start(payload)
            record = await served.finished(run_id)
            whole = f"SecretError: {'x' * before}{MASK}"
            assert record["error"]["error"] == body["error"] == whole[:4000]
            shown = await stored_text(served, run_id) + await listed(served)
            assert "secret-" not in shown
    assert "secret-" not in log.getvalue()
    assert f"SecretError: about {MASK}" in log.getvalue()
    assert "Traceback" in log.getvalue()


async def test_exception_without_a_match_is_logged_unchanged(serve: Serve) -> None:
    def breaks(_payload: Any) -> None:
        raise SecretError("plain")

    logs = []
    for policies in (None, safety()):
        served = await serve(breaks, policies=policies)
        with logged() as log:
            async with served.client.post("/invoke", json={}) as response:
                await error_of(response, 500, "AGENT_EXECUTION_ERROR")
        (line,) = [line for line in log.getvalue().splitlines() if "traceback" in line]
        logs.append(line.partition('"traceback":')[2])
    assert logs[0] == logs[1]


class Holds:
    """An agent that emits half of a match, and then waits."""

    async def __call__(self, payload: Any, context: StreamContext) -> Any:
        await context.emit_token("my secret-12")
        await context.emit("said")
        if payload:
            raise SecretError(payload)
        await asyncio.Event().wait()


async def cancel(served: Served, run_id: str) -> None:
    async with served.client.delete(f"/runs/{run_id}", params={"reason": f"for {SECRET}"}) as response:
        assert response.status == 200


async def shut_down(served: Served, _run_id: str) -> None:
    await served.service.runs.drain(0)


async def stop(served: Served, run_id: str, kind: Any) -> None:
    active = served.service.runs.find(run_id)
    assert active is not None
    active.stop_for(Stop(kind))


@pytest.mark.usefixtures("every_backend")
@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("cancel", "cancelled", None),
        ("shutdown", "failed", "SHUTDOWN"),
        ("timeout", "failed", "TIMEOUT_ERROR"),
        ("lost", "failed", "INTERNAL_ERROR"),
        ("raise", "failed", "AGENT_EXECUTION_ERROR"),
    ],
)
async def test_held_back_text_is_released_however_the_run_ends(
    serve: Serve, how: str, status: str, code: str | None
) -> None:
    served = await serve(Holds(), policies=safety())
    run_id = await served.start(f"at {SECRET}" if how == "raise" else None)
    async with served.events(run_id) as reader:
        await reader.until("custom:said")
        match how:
            case "cancel":
                await cancel(served, run_id)
            case "shutdown":
                await shut_down(served, run_id)
            case "timeout" | "lost":
                await stop(served, run_id, how)
        await reader.all()
    run = await served.service.backend.get(run_id)
    events = await stored_events(served, run_id)
    assert [event["type"] for event in events[-2:]] == ["token", "cancelled" if code is None else "error"]
    assert text(events) == "my secret-12"
    assert (run.status, (run.error or {}).get("code")) == (status, code)
    assert SECRET not in await stored_text(served, run_id)
    if how == "cancel":
        assert events[-1]["reason"] == run.metadata["reason"] == f"for {MASK}"


async def test_only_a_possible_match_is_held_back(serve: Serve) -> None:
    agent = Waits()
    served = await serve(agent, policies=safety(redact_patterns=["first!", "last!"]))
    run_id = await served.start()
    async with served.events(run_id) as reader:
        agent.go.set()
        await reader.all()
    assert text(await stored_events(served, run_id)) == "firstlast"
    other = await serve(Waits(), policies=safety())
    run_id = await other.start()
    async with other.events(run_id) as reader:
        assert data((await reader.until("token"))[-1])["content"] == "first"
    await cancel(other, run_id)


async def test_truncated_texts_are_reported(serve: Serve) -> None:
    async def talks(_payload: Any, context: StreamContext) -> Any:
        for part in ("ab", "c", "def", "gh"):
            await context.emit_token(part)
        await context.checkpoint("whole", "x" * 20)
        return {"long": "é" * 20, "short": "b", "n": 10**20, "list": ["🙂" * 6]}

    served = await serve(talks, policies={"safety": {"max_output_chars": 5}})
    cut = {"long": "ééééé", "short": "b", "n": 10**20, "list": ["🙂" * 5]}
    async with served.client.post("/invoke", json={}) as response:
        body = await response.json()
    assert (body["output"], body["metadata"]["truncated"]) == (cut, True)
    run_id = await served.start()
    record = await served.finished(run_id)
    events = await stored_events(served, run_id)
    assert [event["content"] for event in events if event["type"] == "token"] == ["ab", "c", "de"]
    assert events[-2]["data"] == "x" * 20
    assert record["output"] == events[-1]["output"] == cut
    assert record["metadata"]["truncated"] is events[-1]["metadata"]["truncated"] is True


async def test_untruncated_texts_are_not_reported(serve: Serve) -> None:
    served = await serve(lambda _payload: "abcde", policies={"safety": {"max_output_chars": 5}})
    async with served.client.post("/invoke", json={}) as response:
        body = await response.json()
    assert body["output"] == "abcde"
    assert "truncated" not in body["metadata"]
