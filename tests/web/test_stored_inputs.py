"""`streaming.store_input`: a run's record shows its input, and listings an excerpt."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.backends.run_log import Run
from dockrion.errors import ServiceUnavailable
from dockrion.events import Entry
from dockrion.runs import secret_answers
from dockrion.runs.stored_input import MAX_INPUT_BYTES, replaced_input
from tests import support
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, data, wait_until
from tests.web.answering import accepted, answering, asks, replicas, waiting
from tests.web.credentials import api_keys
from tests.web.test_ownership import key
from tests.web.transports.readers import WEBSOCKET, all_of, invoking

STORED = {"streaming": {"store_input": True}}
PAYLOAD = {"messages": [{"role": "user", "content": "What is  tea?"}], "n": 1}


async def answers(_payload: Any, context: StreamContext) -> dict[str, str]:
    await context.emit_token("A drink.")
    return {"text": "A drink."}


async def newest(served: Served) -> dict[str, Any]:
    async with served.client.get("/runs", params={"limit": "1"}) as response:
        (item,) = (await response.json())["items"]
    assert "input" not in item
    return dict(item)


async def shown(served: Served) -> tuple[Any, Any]:
    """Return the input of the newest run, and its excerpt."""
    item = await newest(served)
    record = await served.finished(item["run_id"])
    assert "input_excerpt" not in record
    return record["input"], item["input_excerpt"]


@pytest.mark.usefixtures("every_backend")
async def test_a_run_shows_its_input_on_every_replica(serve: Serve) -> None:
    served, other = await replicas(serve, answers, **STORED)
    await served.start(PAYLOAD)
    for each in (served, other):
        assert await shown(each) == (PAYLOAD, "What is tea?")


@pytest.mark.parametrize("transport", ["sse", "ndjson", "websocket"])
async def test_runs_of_every_transport_show_their_input(serve: Serve, transport: str) -> None:
    served = await serve(answers, expose=WEBSOCKET)
    async with invoking(served, transport, PAYLOAD) as stream:
        await all_of(stream)
    assert await shown(served) == (PAYLOAD, "What is tea?")


@pytest.mark.usefixtures("every_backend")
async def test_the_default_depends_on_the_backend(serve: Serve) -> None:
    served = await serve(answers)
    await served.start(PAYLOAD)
    in_memory = not support.SHARED_REDIS
    assert await shown(served) == ((PAYLOAD, "What is tea?") if in_memory else (None, None))


async def test_no_input_is_kept_where_the_dockfile_says_so(serve: Serve) -> None:
    served = await serve(answers, streaming={"store_input": False})
    run_id = await served.start(PAYLOAD)
    assert await shown(served) == (None, None)
    assert served.backend._logs[run_id].body is None


async def test_no_input_is_kept_where_no_record_can_be_read(serve: Serve) -> None:
    served = await serve(answers, streaming={"async_runs": False})
    async with served.stream(PAYLOAD) as reader:
        await reader.all()
    (log,) = served.backend._logs.values()
    assert (log.body, log.run.input_excerpt) == (None, None)


async def test_an_invocation_keeps_nothing(serve: Serve) -> None:
    calls: list[Any] = []

    class Agent:
        async def run(self, call: Any, *_args: Any, **_options: Any) -> Any:
            calls.append(call)

    served = await serve()
    served.service.runs.agent = Agent()  # type: ignore[assignment]
    async with served.client.post("/invoke", json=PAYLOAD) as response:
        assert response.status == 200
    assert calls[0].stored_input is None
    assert not served.backend._logs


@pytest.mark.usefixtures("every_backend")
async def test_a_large_input_is_not_kept(serve: Serve) -> None:
    served = await serve(answers, **STORED)
    await served.start({"topic": "x" * (MAX_INPUT_BYTES // 2)})
    kept, excerpt = await shown(served)
    assert (len(kept["topic"]), len(excerpt)) == (MAX_INPUT_BYTES // 2, 120)
    await served.start({"topic": "x" * MAX_INPUT_BYTES})
    assert await shown(served) == (None, None)


async def test_an_external_run_has_no_input(serve: Serve) -> None:
    served = await serve(streaming={"ingest": support.INGEST})
    async with served.client.post("/runs", params={"external": "true", "run_id": "pushed"}) as response:
        assert response.status == 202
    async with served.client.post("/runs/pushed/events", json={"type": "complete", "output": 1}) as response:
        assert response.status == 200
    assert await shown(served) == (None, None)


@pytest.mark.usefixtures("every_backend")
async def test_secrets_are_masked_in_inputs(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_KEY=hunter2hunter2\n")
    served = await serve(answers, secrets={"required": [{"name": "API_KEY"}]}, **STORED)
    await served.start({"topic": "the key is hunter2hunter2", "n": 12345678901234567890})
    masked = "the key is ***"
    assert await shown(served) == ({"topic": masked, "n": 12345678901234567890}, masked)


async def test_write_only_parts_of_inputs_are_masked(serve: Serve) -> None:
    schema = {"properties": {"pin": {"type": "string", "writeOnly": True}, "topic": {"type": "string"}}}
    served = await serve(answers, io_schema={"input": schema})
    await served.start({"pin": "1234", "topic": "tea"})
    assert await shown(served) == ({"pin": "***", "topic": "tea"}, "tea")
    (log,) = served.backend._logs.values()
    assert log.body == b'{"pin": "1234", "topic": "tea"}'


@pytest.mark.usefixtures("every_backend")
async def test_what_outputs_may_not_contain_is_masked_in_inputs(serve: Serve) -> None:
    policies = {"safety": {"redact_patterns": [r"card-\d+"]}}
    served = await serve(answers, policies=policies, **STORED)
    for topic in ("pay with card-1234", "card-1" + "2" * 200_000):
        await served.start({"topic": topic, "n": 1})
        kept, excerpt = await shown(served)
        masked = topic.partition("card-")[0] + "[REDACTED]"
        assert (kept, excerpt) == ({"topic": masked, "n": 1}, masked)


SECRETS = "hunter2hunter2", "swordfish1", "opensesame"


@pytest.mark.usefixtures("every_backend")
@pytest.mark.parametrize("size", [0, 100_000])
@pytest.mark.parametrize("allowed", ["all", "minimal"])
async def test_secret_answers_are_masked_in_the_input_of_their_run(
    serve: Serve, allowed: str, size: int
) -> None:
    owner, other = await replicas(
        serve, asks, streaming={"store_input": True, "events": {"allowed": allowed}}
    )
    payload = {"topic": " ".join(SECRETS), "ask": [{"prompt": "?", "secret": True}] * 3, "filler": "x" * size}
    run_id = await owner.start(payload)
    masked = " ".join(SECRETS)
    for secret, answered in zip(SECRETS, (owner, other, owner), strict=True):
        for each in (owner, other):
            assert await shown_now(each, run_id) == ({**payload, "topic": masked}, masked)
        await accepted(answered, run_id, (await waiting(other, run_id))["request_id"], secret)
        masked = masked.replace(secret, "***")
        for each in (other, owner):
            assert await shown_now(each, run_id) == ({**payload, "topic": masked}, masked)
    await owner.finished(run_id)
    for each in (owner, other):
        assert await shown_now(each, run_id) == ({**payload, "topic": "*** *** ***"}, "*** *** ***")


@pytest.mark.usefixtures("every_backend")
async def test_secret_answers_given_at_once_are_all_masked(serve: Serve) -> None:
    async def asks_all(_payload: Any, context: StreamContext) -> None:
        await asyncio.gather(*(context.ask("?", secret=True) for _ in SECRETS))
        await context.ask("Go on?")

    owner, other = await replicas(serve, asks_all, **STORED)
    run_id = await owner.start({"topic": " ".join(SECRETS), "filler": "x" * 100_000})
    async with owner.events(run_id) as reader:
        asked = [data((await reader.until("input_requested"))[-1])["request_id"] for _ in SECRETS]
    answers_given = zip(asked, SECRETS, (owner, other, other), strict=True)
    await asyncio.gather(*(accepted(served, run_id, *answer) for *answer, served in answers_given))
    assert (await shown_now(other, run_id))[1] == "*** *** ***"


async def test_a_secret_answer_is_not_accepted_while_the_input_cannot_be_masked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_answers, "_STORE_SECONDS", 0.05)
    served = await serve(asks, **STORED)
    run_id = await served.start({"topic": f"use {SECRETS[0]}", "ask": [{"prompt": "?", "secret": True}] * 2})
    question = await waiting(served, run_id)
    append, away = served.backend.append, True

    async def failing(run: Run, entries: Sequence[Entry]) -> None:
        if away:
            raise ServiceUnavailable("away")
        await append(run, entries)

    monkeypatch.setattr(served.backend, "append", failing)
    for _ in range(2):
        async with answering(served, run_id, question["request_id"], SECRETS[0]) as response:
            assert response.status == 503
    assert await waiting(served, run_id) == question
    away = False
    monkeypatch.setattr(secret_answers, "_STORE_SECONDS", TIMEOUT_SECONDS)
    await accepted(served, run_id, question["request_id"], SECRETS[0])
    assert (await shown_now(served, run_id))[1] == "use ***"


async def test_a_run_that_ends_while_an_input_is_masked_takes_no_answer(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    masking, ended = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        masking.set()
        assert ended.wait(TIMEOUT_SECONDS)
        return replaced_input(*arguments)

    monkeypatch.setattr(secret_answers, "replaced_input", slow)
    served = await serve(asks, **STORED)
    filler = "x" * 100_000
    run_id = await served.start(
        {"topic": SECRETS[0], "ask": [{"prompt": "?", "secret": True}], "filler": filler}
    )
    request_id = (await waiting(served, run_id))["request_id"]
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(status_of_answer(served, run_id, request_id, SECRETS[0]))
        await wait_until(masking.is_set)
        async with served.client.delete(f"/runs/{run_id}") as response:
            assert response.status == 200
        ended.set()
    assert answer.result() == 409


async def status_of_answer(served: Served, run_id: str, request_id: str, value: str) -> int:
    async with answering(served, run_id, request_id, value) as response:
        return response.status


async def shown_now(served: Served, run_id: str) -> tuple[Any, Any]:
    """Return the input of the newest run, finished or not, and its excerpt."""
    return (await served.record(run_id))["input"], (await newest(served))["input_excerpt"]


@pytest.mark.usefixtures("every_backend")
async def test_an_input_is_shown_to_those_who_may_read_the_run(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(answers, **STORED, **mode.sections(tmp_path))
    async with served.client.post("/runs", json=PAYLOAD, headers=key("owner")) as response:
        run_id = (await response.json())["run_id"]
    seen = {}
    for user in ("owner", "auditor", "peeping", "other", "approver", "operator"):
        record = await _text(served, f"/runs/{run_id}", user)
        listing = await _text(served, "/runs", user)
        seen[user] = ("What is  tea?" in record, "What is tea?" in listing)
    readers = dict.fromkeys(("owner", "auditor", "peeping"), (True, True))
    assert seen == readers | dict.fromkeys(("other", "approver", "operator"), (False, False))


async def _text(served: Served, path: str, user: str) -> str:
    async with served.client.get(path, headers=key(user)) as response:
        return await response.text()
