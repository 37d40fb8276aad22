"""A service that is restarted when a file is saved, at a terminal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.process import START_SECONDS, write_dockfile
from tests.e2e.terminal import Terminal, terminal


def returns(text: str) -> str:
    """Return the code of an agent that answers with a text."""
    return f"def handle(payload):\n    return {text!r}\n"


class Loop:
    """A service that is restarted, as its author sees it."""

    def __init__(self, shown: Terminal, session: aiohttp.ClientSession, folder: Path) -> None:
        self.shown = shown
        self.folder = folder
        self._session = session

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self._session.get(self.shown.url + path) as response:
            return response.status, await response.json()

    async def answer(self) -> Any:
        async with self._session.post(f"{self.shown.url}/invoke", json={}) as response:
            body = await response.json()
            return body.get("output", body.get("error"))

    async def until_answer(self, text: str) -> None:
        """Wait until the agent, or what replaces it, answers with a text."""
        async with asyncio.timeout(START_SECONDS):
            while text not in await self._answer_unless_lost():
                await asyncio.sleep(0.02)

    async def _answer_unless_lost(self) -> str:
        try:
            return str(await self.answer())
        except aiohttp.ClientConnectorError:  # refused
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):  # a worker ended meanwhile
            return ""

    def processes(self) -> list[int]:
        """Return the ids of the workers."""
        path = Path(f"/proc/{self.shown.popen.pid}/task/{self.shown.popen.pid}/children")
        return [int(each) for each in path.read_text().split()]


@asynccontextmanager
async def loop(folder: Path, code: str, *arguments: str, **sections: Any) -> AsyncIterator[Loop]:
    path = write_dockfile(folder, code, **sections)
    # Without keep-alive: each request is a new connection, which must not be refused.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        with terminal(folder, path, "--port=0", "--reload", *arguments, NO_COLOR="1") as shown:
            await shown.until("Press Ctrl-C")
            yield Loop(shown, session, folder)
