"""The guide's JavaScript, in a browser."""

from pathlib import Path

import pytest

from dockrion import StreamContext
from tests.browser.conftest import Visit
from tests.conftest import Serve
from tests.guide.pages import GUIDE, blocks

KEY = "a-key-that-is-long-enough"
STREAM, WATCH = (block.text for block in blocks(GUIDE / "clients.md", "js"))


async def says(payload: dict[str, str], context: StreamContext) -> dict[str, str]:
    for word in ("Hel", "lo, ", payload["name"]):
        await context.emit_token(word)
    return payload


@pytest.mark.parametrize("guarded", [False, True])
async def test_examples_work_as_described(serve: Serve, visit: Visit, tmp_path: Path, guarded: bool) -> None:
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={KEY}\n")
    served = await serve(says, **({"auth": {}} if guarded else {}))
    page = await visit(served.port, "health")
    headers = {"X-API-Key": KEY} if guarded else {}
    shown = await page.evaluate(
        f"""async (headers) => {{
          {STREAM}
          const types = [];
          await stream("", {{name: "Ada"}}, headers, (event) => types.push(event.type));
          return types;
        }}""",
        headers,
    )
    assert shown == ["started", "token", "token", "token", "complete"]
    text, end = await page.evaluate(
        f"""async (headers) => {{
          {WATCH}
          let text = "";
          const end = await watch("", {{name: "Ada"}}, headers, (content) => text += content);
          return [text, end];
        }}""",
        headers,
    )
    assert text == "Hello, Ada"
    assert (end["type"], end["output"]) == ("complete", {"name": "Ada"})
