"""Failures of Redis as an operator sees them."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.e2e.conftest import Start
from tests.e2e.process import Process, run, write_dockfile
from tests.servers import RedisServer
from tests.support import Reader, wait_until

OK = "def handle(payload):\n    return payload\n"
PASSWORD = 's3cret/ä "x%41&?@'
FORMS = {
    PASSWORD,
    quote(PASSWORD),
    quote(PASSWORD, safe=""),
    repr(PASSWORD)[1:-1],
    *(json.dumps(PASSWORD, ensure_ascii=escaped)[1:-1] for escaped in (True, False)),
}
LOGIN = f":{quote(PASSWORD, safe='')}@"
MALFORMED = {
    "scheme": f"http://{LOGIN}h/0",
    "bracket": f"redis://{LOGIN}[::1/0",
    "unescaped": "redis://:s3cret/ä@h:6379/0",
    "option": f"redis://{LOGIN}h/0?socket_timeout=soon",
    "unknown option": f"redis://{LOGIN}h/0?no_such_option=1",
}
# An agent that leaks the URL, or never ends.
LEAKY = """
import asyncio, logging, os

async def handle(payload, context):
    await context.emit_token("first")
    if payload:
        logging.debug("connecting to %s", os.environ["REDIS_URL"])
        raise RuntimeError("cannot reach " + os.environ["REDIS_URL"])
    await asyncio.Event().wait()
"""


def on_redis(folder: Path, code: str, **redis: Any) -> Path:
    return write_dockfile(
        folder,
        code,
        streaming={"backend": "redis", "redis": redis, "events": {"heartbeat_interval": 1}},
        observability={"log_level": "debug"},
    )


def test_data_of_a_newer_version_ends_the_start(tmp_path: Path) -> None:
    with RedisServer("valkey", tmp_path) as server:
        server.command("SET", "dockrion:tested:{service}:format", 99)
        result = run("run", on_redis(tmp_path, OK, url=server.url), "--port", "0", cwd=tmp_path)
        assert result.returncode == 1
        assert "what is stored in Redis has format 99, of a newer version" in result.stderr
        assert server.command("KEYS", "*") == [b"dockrion:tested:{service}:format"]


def leaked(text: str) -> list[str]:
    return [form for form in (*FORMS, "s3cret") if form in text]


async def test_malformed_url_is_refused_in_one_line_without_its_password(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in MALFORMED]
    for folder, url in zip(folders, MALFORMED.values(), strict=True):
        folder.mkdir()
        on_redis(folder, OK, url=url)
    runs = (asyncio.to_thread(run, "run", "--port", "0", cwd=folder) for folder in folders)
    for done in await asyncio.gather(*runs):
        assert done.returncode == 1, done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "streaming.redis.url" in done.stderr
        assert not leaked(done.stdout + done.stderr)


def test_traceback_of_a_malformed_url_has_no_password(tmp_path: Path) -> None:
    path = on_redis(tmp_path, OK, url=MALFORMED["option"])
    done = run("run", path, "--port", "0", "--verbose", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert not leaked(done.stdout + done.stderr)


class Responses:
    """All responses of a process."""

    def __init__(self, process: Process, session: aiohttp.ClientSession) -> None:
        self.text = ""
        self._url = process.url
        self._session = session

    async def request(self, method: str, path: str, payload: Any = None) -> int:
        async with self._session.request(method, self._url + path, json=payload) as response:
            self.text += f"{response.headers}\n{await response.text()}\n"
            return response.status

    async def request_everything(self) -> None:
        for path in ("/", "/health", "/ready", "/info", "/schema", "/metrics", "/runs", "/runs/any"):
            await self.request("GET", path)
        for path in ("/runs", "/invoke", "/invoke/stream"):
            await self.request("POST", path, {"be": "leaky"})


@pytest.mark.parametrize(("kind", "unix"), [("redis", False), ("valkey", True)])
async def test_password_is_never_shown(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession, kind: str, unix: bool
) -> None:
    with RedisServer(kind, tmp_path, password=PASSWORD) as server:
        url = server.unix_url if unix else server.url
        process = await start(on_redis(tmp_path, LEAKY), REDIS_URL=url)
        responses = Responses(process, session)
        await responses.request_everything()
        server.command("SET", "dockrion:tested:{any}:run", "of another type")
        server.command("SET", "dockrion:tested:{service}:owned:any", "of another type")
        await responses.request_everything()
        server.command("CONFIG", "SET", "requirepass", "another")
        secret = quote(PASSWORD, safe="")
        server.url = server.url.replace(secret, "another")
        server.kill_clients()
        await wait_until(lambda: "redis error" in process.out)
        await responses.request_everything()
        server.kill()
        await responses.request_everything()
        process.signal()
        assert await process.exit_code() == 0
    assert "cannot reach" in responses.text
    assert "connecting to" in process.out
    assert "Traceback" in process.out
    assert not leaked(responses.text)
    assert not leaked(process.out)
    assert not leaked(process.err)


@pytest.mark.parametrize("working", [True, False])
async def test_service_ends_in_bounded_time_while_redis_is_away(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession, working: bool
) -> None:
    with RedisServer("redis", tmp_path) as server:
        path = on_redis(tmp_path, LEAKY, url=server.url)
        process = await start(path, module="tests.e2e.quick", arguments=["--grace", "0.2"])
        readers: list[Reader] = []
        if working:
            response = await session.post(f"{process.url}/invoke/stream", json={})
            readers.append(Reader(response))
            await readers[0].until("token")
        server.kill()
        await wait_until(lambda: "UNREACHABLE" in process.out)
        began = time.monotonic()
        process.signal()
        ends = await asyncio.gather(*(reader.all() for reader in readers))
        assert await process.exit_code() == 0
        assert time.monotonic() - began < 15
    assert not any(message.id for messages in ends for message in messages)
    assert all(b"going away" in reader.raw for reader in readers)
    assert process.logged("shut down")
    assert process.err == ""
