"""`dockrion doctor`: look at everything that a start needs, and say what to do about what is missing."""

import argparse
import asyncio
import logging
import platform
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from typing import Literal, NamedTuple

import aiohttp
from yarl import URL

import dockrion
from dockrion.commands.dockfile_options import add_dockfile_options, exported, load_dockfile
from dockrion.console.screen import TEXT, printable
from dockrion.dockfile import Dockfile, DockfileError, Loaded, unserved
from dockrion.errors import ServiceUnavailable, StartError
from dockrion.redaction import Redactor
from dockrion.server.sockets import Address
from dockrion.terminal.style import GREEN, RED, YELLOW, paint, shows_colours
from dockrion.web.backend_factory import find_redis_problem
from dockrion.web.start_checks import check_start

_PACKAGES = ("aiohttp", "msgspec", "redis")
_EXTRAS = {  # the package that each extra installs, and what it is for
    "langgraph": ("langgraph", "agents that are graphs"),
    "langchain": ("langchain-core", "agents that are runnables"),
    "dev-server": ("watchfiles", "dockrion run --reload"),
}
_OLDEST_PYTHON = (3, 11)
_COLOURS = {"ok": GREEN, "warn": YELLOW, "fail": RED}
_REDIS_SECONDS = 3.0
_MOST_SECONDS = 10.0  # for whatever is asked over the network, the resolution of its name included
_CREDENTIALS = re.compile("//[^/]*@")
_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  where to find a service that listens on all


class Line(NamedTuple):
    """What one check has found."""

    status: Literal["ok", "warn", "fail"]
    what: str
    text: str


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `dockrion doctor`."""
    add_dockfile_options(parser)
    parser.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    redactor = Redactor()
    failed = False

    def show(line: Line) -> None:
        nonlocal failed
        failed = failed or line.status == "fail"
        status = paint(f"{line.status:<4}", _COLOURS[line.status], colours=shows_colours(sys.stdout))
        print(f"{status}  {printable(redactor.mask(f'{line.what}: {line.text}'), TEXT)}", flush=True)

    for line in _versions():
        show(line)
    try:
        loaded = load_dockfile(options)
    except DockfileError as error:
        for problem in error.problems:
            show(Line("fail", "Dockfile", str(problem)))
        for warning in error.warnings:
            show(Line("warn", "Dockfile", str(warning)))
        for line in _extras(None):
            show(line)
        return 1
    redactor = Redactor(loaded.confidential)
    with exported(loaded.agent_environment):
        asyncio.run(_show_checks(loaded, show))
    return 1 if failed else 0


async def _show_checks(loaded: Loaded, show: Callable[[Line], None]) -> None:
    dockfile = loaded.dockfile
    show(Line("ok", "Dockfile", f"{loaded.path}, agent {dockfile.agent.name}"))
    for warning in loaded.warnings:
        show(Line("warn", "Dockfile", str(warning)))
    for reason in unserved(loaded):
        show(Line("fail", "Dockfile", reason))
    for checks in (_secrets(loaded), _extras(dockfile)):
        for line in checks:
            show(line)
    async for line in _agent(loaded):
        show(line)
    show(await _redis(dockfile))
    show(await _port(dockfile))


def _versions() -> Iterator[Line]:
    new_enough = sys.version_info >= _OLDEST_PYTHON
    hint = "" if new_enough else f"; install Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer"
    yield Line("ok" if new_enough else "fail", "python", platform.python_version() + hint)
    packages = ", ".join(f"{name} {_version(name) or 'missing'}" for name in _PACKAGES)
    yield Line("ok", "dockrion", f"{dockrion.__version__}, with {packages}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extras(dockfile: Dockfile | None) -> Iterator[Line]:
    for extra, (package, purpose) in _EXTRAS.items():
        needed = dockfile is not None and dockfile.agent.takes_config and dockfile.agent.framework == extra
        installed = _version(package)
        if installed:
            yield Line("ok", f"extra {extra}", f"{package} {installed}")
        elif needed:
            yield Line("fail", f"extra {extra}", f"not installed; pip install 'dockrion[{extra}]'")
        else:
            hint = f"not installed; for {purpose}, pip install 'dockrion[{extra}]'"
            yield Line("ok", f"extra {extra}", hint)


def _secrets(loaded: Loaded) -> Iterator[Line]:
    secrets = loaded.dockfile.secrets
    for secret in secrets.required:
        if secret.name in loaded.missing_secrets:
            hint = f"not set; write {secret.name}=… to a file .env beside the Dockfile, or set the variable"
            yield Line("fail", "secret", f"{secret.name}, {hint}")
        else:
            yield Line("ok", "secret", f"{secret.name} is set")
    for secret in secrets.optional:
        is_set = secret.name in loaded.secrets
        yield Line("ok", "secret", f"{secret.name} is {'set' if is_set else 'not set, and optional'}")
    for missing in loaded.credentials.missing:
        yield Line("fail", "credentials", f"{missing}; set the variable, or write it to .env")


async def _agent(loaded: Loaded) -> AsyncIterator[Line]:
    nowhere = StringIO()  # what the agent prints is no part of the report, and may be a secret
    with redirect_stdout(nowhere), redirect_stderr(nowhere):
        findings = await check_start(loaded)
    spec = loaded.dockfile.agent
    for error in findings.errors:
        yield Line("fail", "agent", error)
    for warning in findings.warnings:
        yield Line("warn", "agent", warning)
    if findings.errors:
        return
    if spec.mode == "url":
        yield await _agent_process(loaded.dockfile)
    else:
        yield Line("ok", "agent", f"{spec.mode} {spec.target} can be loaded")


async def _agent_process(dockfile: Dockfile) -> Line:
    from dockrion.agents.remote import RemoteAgent  # noqa: PLC0415  memory

    target = dockfile.agent.target
    agent = RemoteAgent(dockfile)
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            await agent.check()
    except (ServiceUnavailable, TimeoutError):
        return Line("warn", "agent", f"no process answers at {target}; start it, or correct agent.url")
    finally:
        await agent.aclose()
    return Line("ok", "agent", f"a process answers at {target}")


async def _redis(dockfile: Dockfile) -> Line:
    streaming = dockfile.streaming
    if streaming.backend != "redis":
        return Line("ok", "redis", "not needed: runs are kept in memory")
    address = _CREDENTIALS.sub("//", streaming.redis.url.partition("?")[0])
    logging.getLogger("dockrion.redis").addFilter(_nothing)  # the line says it
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            problem = await find_redis_problem(dockfile)
    except TimeoutError:
        problem = "no answer in time"
    except StartError:  # of which the lines about the agent have told
        problem = "malformed"
    finally:
        logging.getLogger("dockrion.redis").removeFilter(_nothing)
    if problem is None:
        return Line("ok", "redis", f"{address} answers, and permits what the service needs")
    return Line("fail", "redis", f"{address}: {problem}")


def _nothing(_record: logging.LogRecord) -> bool:
    return False


async def _port(dockfile: Dockfile) -> Line:
    host, port = dockfile.expose.host, dockfile.expose.port
    try:
        async with Address(host, port).listen() as sockets:
            for each in sockets:
                each.close()
    except StartError as error:
        if await _serves(dockfile):
            return Line("ok", "port", f"{host}:{port} is that of this agent's service, which runs")
        return Line("fail", "port", str(error))
    return Line("ok", "port", f"{host}:{port} is free")


async def _serves(dockfile: Dockfile) -> bool:
    """Return whether what listens there is a service of this agent."""
    expose = dockfile.expose
    scheme = "http" if expose.tls is None else "https"
    url = URL.build(
        scheme=scheme, host=_HOSTS.get(expose.host, expose.host), port=expose.port, path="/health"
    )
    with suppress(aiohttp.ClientError, OSError, ValueError):
        timeout = aiohttp.ClientTimeout(total=_REDIS_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, ssl=False) as response:
            body = await response.json()
            return isinstance(body, dict) and body.get("agent") == dockfile.agent.name
    return False
