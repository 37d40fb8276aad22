"""Services that require authentication."""

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from playwright.async_api import Page, expect

from tests.browser.agents import ScriptedAgent
from tests.browser.conftest import Visit
from tests.browser.helpers import press, run, shell
from tests.conftest import Serve

KEY = "a-key-that-is-long-enough"
SECRET = "a secret that is longer than its hash is"
AUTH: dict[str, Any] = {"mode": "api_key"}
NAMED: dict[str, Any] = {"mode": "api_key", "api_keys": {"header": "X-Own-Key", "allow_bearer": False}}

TOKENS: dict[str, Any] = {
    "mode": "jwt",
    "jwt": {"public_key_env": "SHARED_SECRET", "algorithms": ["HS256"], "leeway_seconds": 0},
}


async def enter(page: Page, key: str) -> None:
    await page.get_by_label("API key or token").fill(key)
    await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()


@pytest.fixture(autouse=True)
def key(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DOCKRION_API_KEY={KEY}\n")


async def test_key_is_requested_and_sent_in_the_configured_header(serve: Serve, visit: Visit) -> None:
    agent = ScriptedAgent()
    served = await serve(agent, auth=NAMED)
    page = await visit(served.port)
    await expect(page.get_by_role("dialog")).to_contain_text("It is sent in the X-Own-Key header.")
    await expect(page.locator("#agent")).to_have_text("Dockrion")
    await enter(page, "wrong")
    await expect(page.get_by_role("dialog")).to_contain_text("This key or token is wrong")
    await enter(page, f" {KEY} ")
    await expect(page.locator("#agent")).to_have_text("tested")
    await run(page)
    agent.say("one")
    await expect(page.locator("#words")).to_have_text("one")
    await page.reload()
    await expect(page.locator("#words")).to_have_text("one")
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")


async def test_key_is_stored_in_the_tab_only_and_never_displayed(serve: Serve, visit: Visit) -> None:
    served = await serve(lambda payload: payload, auth=AUTH)
    page = await visit(served.port)
    await enter(page, KEY)
    await run(page, "invoke")
    await expect(page.locator("#status")).to_have_text("Complete")
    assert KEY not in await page.content()
    assert KEY not in await page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
    command = await page.locator("#curl").inner_text()
    assert '"output":{}' in await shell(command, DOCKRION_KEY=KEY)
    other = await page.context.new_page()
    await other.goto(page.url)
    await expect(other.get_by_role("dialog")).to_be_visible()
    await press(page, "Sign out")
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_dismissed_sign_in_shows_a_problem_and_can_be_reopened(serve: Serve, visit: Visit) -> None:
    served = await serve(auth=AUTH)
    page = await visit(served.port)
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#problem")).to_have_text("Sign in to use this agent.")
    await expect(page.locator("#readiness")).to_have_text("Ready")
    await press(page, "Sign in")
    await enter(page, KEY)
    await expect(page.locator("#agent")).to_have_text("tested")


async def test_expired_token_is_requested_again_and_no_event_is_lost(
    serve: Serve, visit: Visit, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"SHARED_SECRET={SECRET}\n")
    agent = ScriptedAgent()
    served = await serve(agent, auth=TOKENS)
    lasting = {"Authorization": f"Bearer {token(600)}"}
    async with served.client.post("/runs?run_id=r", json={}, headers=lasting) as response:
        assert response.status == 202
    agent.say("one")
    page = await visit(served.port, "#run=r")
    await expect(page.get_by_role("dialog")).to_contain_text("It is sent in the Authorization header.")
    accepted, refused = page.locator("#words", has_text="one"), page.get_by_text("is wrong, or has expired")
    for seconds in (3, 10, 30):  # a busy machine may take longer than a token is valid
        await enter(page, token(seconds))
        await expect(accepted.or_(refused).first).to_be_visible()
        if await accepted.is_visible():
            break
    await expect(accepted).to_be_visible()
    await expect(refused).to_be_visible(timeout=60_000)
    await enter(page, token(600))
    agent.say(" two")
    agent.end()
    await expect(page.locator("#status")).to_have_text("Complete")
    await expect(page.locator("#words")).to_have_text("one two")


def token(seconds: int) -> str:
    return jwt.encode({"sub": "ann", "exp": int(time.time()) + seconds}, SECRET, algorithm="HS256")


async def test_role_without_read_docs_can_still_invoke(serve: Serve, visit: Visit) -> None:
    roles = [{"name": "default", "permissions": ["invoke"]}]
    served = await serve(lambda payload: payload, auth=AUTH | {"roles": roles})
    page = await visit(served.port)
    await enter(page, KEY)
    await expect(page.locator("#problem")).to_contain_text("needs the permission read_docs")
    await page.get_by_label("Request body").fill('{"n": 1}')
    await run(page, "invoke")
    await expect(page.locator("#outcome pre")).to_contain_text('"n": 1')
