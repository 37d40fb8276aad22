"""Which run answers in a chat at the moment: a claim that all replicas share.

The claim has the caller in its name, so that nobody finds the run of another one's chat, and the run's
incarnation in its value. It is replaced by the next run of the chat and given up with the end of the run.
"""

import hashlib
from contextlib import suppress

import msgspec
from aiohttp import web

from dockrion.backends.run_log import Run
from dockrion.errors import RunNotFound, ServiceUnavailable
from dockrion.web import idempotency
from dockrion.web.access import CALLER
from dockrion.web.service import SERVICE

_NO_RUN = b"-"
_NO_RUN_SECONDS = 1  # claims can only be read by claiming the name
_ATTEMPTS = 5  # to replace a claim that others replace, too
_packer = msgspec.msgpack.Encoder()


class _Claim(msgspec.Struct, frozen=True, array_like=True):
    run_id: str
    incarnation: str


_unpacker = msgspec.msgpack.Decoder(_Claim)


async def set_active_run(request: web.Request, chat_id: str, run: Run) -> None:
    """Note that a run answers in a chat.

    Raises:
        ServiceUnavailable: The storage cannot be reached.
    """
    name, value, seconds = _name(request, chat_id), _value(run), idempotency.run_seconds(request)
    backend = request.app[SERVICE].backend
    replaced: bytes | None = None
    for _ in range(_ATTEMPTS):
        replaced = await backend.claim(name, value, seconds, replaced)
        if replaced == value:
            return
    raise ServiceUnavailable("other requests in this chat are under way; try again later")


async def active_run(request: web.Request, chat_id: str) -> Run | None:
    """Return the run that answers in a chat, None if there is none.

    Raises:
        ServiceUnavailable: The storage cannot be reached.
    """
    backend, name = request.app[SERVICE].backend, _name(request, chat_id)
    stored = await backend.claim(name, _NO_RUN, _NO_RUN_SECONDS)
    with suppress(msgspec.DecodeError, RunNotFound):
        claim = _unpacker.decode(stored)
        run = await backend.get(claim.run_id)
        if run.incarnation == claim.incarnation and not run.finished:
            return run
    if stored != _NO_RUN:
        await backend.claim(name, _NO_RUN, _NO_RUN_SECONDS, stored)
    return None


def _name(request: web.Request, chat_id: str) -> str:
    caller = request[CALLER]
    owner = None if caller is None else caller.owner
    return hashlib.sha256(_packer.encode(["chat", owner, chat_id])).hexdigest()


def _value(run: Run) -> bytes:
    return _packer.encode(_Claim(run.run_id, run.incarnation))
