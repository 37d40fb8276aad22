"""Agents that open and close something, written by a test."""

import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dockrion.agents.lifespan import Lifespan
from dockrion.agents.loading import check_agent, load_agent
from dockrion.errors import StartError
from tests.agents.harness import bench
from tests.support import dockfile

SAID = """
import asyncio, threading
from contextlib import asynccontextmanager

said = []
release = threading.Event()

def say(what):
    said.append(what)

async def handle(payload):
    say("run")
    return payload

class Agent:
    invoke = staticmethod(lambda payload: say("run") or payload)
"""
HOOKS = (
    SAID
    + """
async def startup():
    say("startup")

async def shutdown():
    say("shutdown")
"""
)


class Code:
    """A module beside a Dockfile, and what it said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = f"agent_{uuid4().hex}"

    def write(self, source: str, target: str = "handle", framework: str = "custom") -> None:
        (self._folder / f"{self.name}.py").write_text(source)
        field = "handler" if target == "handle" else "entrypoint"
        spec = {"name": "tested", field: f"{self.name}:{target}", "framework": framework}
        self.dockfile = dockfile(self._folder, {"agent": spec}).dockfile

    def lifespan(self) -> Lifespan:
        return Lifespan(partial(load_agent, self.dockfile, self._folder))

    async def live(self) -> list[str]:
        """Open the agent, let it work once, and close it; return what it said."""
        kept_open = self.lifespan()
        async with bench(await kept_open.agent()) as runs:
            await runs.run()
        await kept_open.aclose()
        return self.said

    async def refused(self) -> str:
        """Return the message of the start that fails."""
        kept_open = self.lifespan()
        with pytest.raises(StartError) as caught:
            await kept_open.agent()
        await kept_open.aclose()
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(self.name, "agent")

    async def errors(self) -> list[str]:
        """Return what `dockrion validate` would print."""
        errors = (await check_agent(self.dockfile, self._folder)).errors
        return [line.replace(self.name, "agent") for line in errors]

    @property
    def module(self) -> Any:
        return sys.modules[self.name]

    @property
    def said(self) -> list[str]:
        """What the agent has said, nothing while its module is still being imported."""
        said: list[str] = getattr(sys.modules.get(self.name), "said", [])
        return said
