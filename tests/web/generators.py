"""Run id generators for Dockfiles of the tests."""

import itertools
import threading
from typing import Any

_numbers = itertools.count(1)
stuck = threading.Event()


def plain() -> str:
    return f"plain-{next(_numbers)}"


async def coroutine() -> str:
    return f"coroutine-{next(_numbers)}"


def with_request(request: Any) -> str:
    return f"{request.agent_name}-{request.timestamp:%Y}"


async def coroutine_with_request(request: Any) -> str:
    return f"async-{request.agent_name}"


def always_the_same() -> str:
    return "same"


def raises() -> str:
    raise ValueError("cannot read /etc/ids.conf")


def exits() -> str:
    raise SystemExit(3)


def not_an_id() -> str:
    return "not an id!"


def not_text() -> int:
    return 7


def never_returns() -> str:
    stuck.wait()
    return "late"
