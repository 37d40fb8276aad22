"""A page of another origin attacks the service from a real browser."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page

from tests.browser.conftest import Visit, in_one_loop
from tests.conftest import Serve
from tests.exposition import exposition
from tests.support import wait_until

RESTRICTED: dict[str, Any] = {"cors": {"origins": ["https://app.example"]}, "streaming": "websocket"}
ATTACKS = {
    "beacon without a type": "navigator.sendBeacon(`${service}/runs`, new Blob(['{}']))",
    "beacon of bytes": "navigator.sendBeacon(`${service}/runs`, new ArrayBuffer(2))",
    "fetch without a type": "send('/runs', {body: new Blob(['{}'])})",
    "fetch of text": "send('/invoke', {body: '{}'})",
    "fetch without a body": "send('/runs?external=true', {})",
    "fetch of JSON, with a preflight": """
        fetch(`${service}/runs`, {method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}})
            .catch(() => undefined)
    """,
    "form": """
        const form = document.createElement('form');
        const action = `${service}/runs`;
        Object.assign(form, {method: 'post', action, enctype: 'text/plain', target: 'frame'});
        form.innerHTML = '<input name=\\'{"a":"\\' value=\\'"}\\'>';
        document.body.append(form);
        form.submit();
    """,
    "websocket": """
        const socket = new WebSocket(`${service.replace('http', 'ws')}/invoke/ws`);
        socket.onopen = () => socket.send('{}');
    """,
}
SENDS = """
    const service = 'http://127.0.0.1:PORT';
    const send = (path, options) => fetch(service + path, {method: 'POST', mode: 'no-cors', ...options});
"""


@in_one_loop
async def elsewhere(browser: Browser) -> AsyncIterator[Page]:
    """Open a page of another origin."""

    async def blank(_request: web.Request) -> web.Response:
        return web.Response(text="<body><iframe name=frame></iframe>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", blank)
    server = TestServer(app)
    await server.start_server()
    page = await (await browser.new_context()).new_page()
    await page.goto(str(server.make_url("/")))
    yield page
    await page.context.close()
    await server.close()


@pytest.mark.parametrize("attack", ATTACKS)
async def test_page_of_another_origin_starts_nothing(serve: Serve, elsewhere: Page, attack: str) -> None:
    payloads: list[Any] = []
    served = await serve(payloads.append, expose=RESTRICTED, streaming={"ingest": {"enabled": True}})
    sends = SENDS.replace("PORT", str(served.port))
    await elsewhere.evaluate(f"async () => {{ {sends} {ATTACKS[attack]} }}")
    await wait_until(lambda: 'status="403"' in exposition(served))
    async with served.client.get("/runs") as response:
        assert (await response.json())["items"] == []
    assert payloads == []


async def test_own_page_works_whatever_other_origins_may_do(serve: Serve, visit: Visit) -> None:
    served = await serve(expose=RESTRICTED)
    page = await visit(served.port)
    asked = """async () => {
        const headers = {'Content-Type': 'application/json'};
        const invoked = await fetch('/invoke', {method: 'POST', body: '{"a": 1}', headers});
        const socket = new WebSocket(`ws://${location.host}/invoke/ws`);
        socket.onopen = () => socket.send('{"a": 2}');
        const closed = new Promise((resolve) => { socket.onclose = (event) => resolve(event.code); });
        return [(await invoked.json()).output, await closed];
    }"""
    assert await page.evaluate(asked) == [{"a": 1}, 1000]
