"""Streams that AG-UI's own clients accept, whole and resumed, and the examples of the guide."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockrion.events import Entry
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.writer import Options
from dockrion.protocols.numbered_frames import parse_cursor
from tests.conftest import Serve
from tests.guide.pages import blocks, page
from tests.interop import node, sdks
from tests.interop.ag_ui import EXPOSE, SCRIPT, Researcher, run, url
from tests.interop.sdks import SDK
from tests.protocols.ag_ui.streams import NAMES, reopening_of
from tests.protocols.ag_ui.verifier import verify
from tests.protocols.logs import encoded, logs, messages_of, resumption
from tests.support import wait_until
from tests.web.helpers import gauge

GUIDE = page("ag-ui")
CONTINUE = {"connection": {"on_disconnect": "continue"}}


@pytest.fixture(scope="module")
def sdk() -> Iterator[SDK]:
    with sdks.running(SCRIPT) as commands:
        yield commands


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(logs(), st.booleans(), st.booleans())
async def test_clients_accept_every_stream_from_wherever_they_resume(
    sdk: SDK, entries: list[Entry], answered: bool, before_1_0: bool
) -> None:
    encoder = RunEncoder(NAMES, Options(1_000 if answered else 0, before_1_0=before_1_0))
    whole = encoded(encoder, entries)[0].decode()
    streams = [whole]
    for message in messages_of(whole.encode()):
        found = resumption(encoder, entries, parse_cursor(message.id or "").skip)
        rest, _ = encoded(encoder, entries[found.after :], found.state)
        streams.append((reopening_of(encoder, found) + found.frames + rest).decode())
    seen = await sdk("replay", streams=[stream for stream in streams if stream], before1=before_1_0)
    assert (set(seen["outcomes"]), seen["reported"]) == ({None}, [])


async def test_a_stock_client_goes_on_after_a_cut(serve: Serve, sdk: SDK) -> None:
    served = await serve(Researcher(), expose=EXPOSE, streaming=CONTINUE)
    await sdk("open", name="unbroken", url=url(served))
    whole = await run(sdk, "unbroken", runId="whole")
    for frames in (3, 4, 9, 12, 21, 23):
        await sdk("open", name="cut", url=url(served))
        cut = await run(sdk, "cut", runId=f"cut{frames}", cut=frames)
        assert len(cut["events"]) == frames
        seen = await sdk(
            "resume",
            name="cut",
            url=url(served, f"/ag-ui/runs/cut{frames}"),
            lastEventId=cut["lastEventId"],
        )
        verify(seen["events"])
        assert (seen["reported"], seen.get("rejected")) == ([], None)
        own = [message | {"id": ""} for message in seen["messages"]]
        assert own == [message | {"id": ""} for message in whole["messages"]]
    await wait_until(lambda: gauge(served.service.metrics.requests.open_streams) == 0)


RESUMES = """
import { ResumingAgent } from "./resuming.mjs";

const [url, run] = process.argv.slice(2);
const agent = new ResumingAgent({ url, threadId: "t" });
agent.addMessage({ id: "journey-1:2", role: "reasoning", content: "" });
await agent.resume(run, "2.2");
console.log(JSON.stringify([agent.messages, agent.state, agent.pendingInterrupts.length]));
"""


async def test_the_guide_s_examples(serve: Serve, tmp_path: Path) -> None:
    agent, dockfile = blocks(GUIDE, "python")[0], yaml.safe_load(blocks(GUIDE, "yaml")[0].text)
    names: dict[str, Any] = {}
    exec(agent.text, names)
    served = await serve(names["plan"], expose=dockfile["expose"])
    service = f"http://127.0.0.1:{served.port}"
    for script in blocks(GUIDE, "js"):
        (tmp_path / script.file_name).write_text(script.text.replace("http://localhost:8096", service))
    (tmp_path / "check.mjs").write_text(RESUMES)
    node.executable()
    (tmp_path / "node_modules").symlink_to(node.MODULES)
    (printed,) = (block.text for block in blocks(GUIDE, "text") if block.text.startswith("Book a train"))
    assert await node.output(tmp_path / "talk.mjs") == printed

    started = {"threadId": "t", "runId": "journey-1", "messages": [{"role": "user", "content": "Rome"}]}
    async with served.client.post("/ag-ui", json=started) as response:
        await response.read()
    resumed = await node.output(tmp_path / "check.mjs", url(served), url(served, "/ag-ui/runs/journey-1"))
    reasoning = {"id": "journey-1:2", "role": "reasoning", "content": "A journey to Rome needs a date."}
    assert json.loads(resumed) == [[reasoning], {"city": "Rome"}, 1]
