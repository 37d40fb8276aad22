"""Requests that are carried out once however often they are sent: `Idempotency-Key`.

The header is that of the IETF draft "The Idempotency-Key HTTP Header Field". A key is claimed, over all
replicas, with the id and the incarnation of the run that its first request starts. Whoever sends the key
again finds the claim, and with it the run. If there is no run yet, since the first request failed or its
replica died, the next one starts it, with the same id and incarnation: storages create a run once, and begin
it also if they have not confirmed that they stored it. So there is one run for a key, until it has expired
and its claim is replaced.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec
from aiohttp import web

from dockrion import ids
from dockrion.backends.run_log import Run, RunLog
from dockrion.errors import IdempotencyMismatch, InvalidRequest, RunExists, RunNotFound, ServiceUnavailable
from dockrion.ids import IDEMPOTENCY_HEADER, REPLAYED_HEADER
from dockrion.threads import in_thread
from dockrion.web.access import CALLER, RUN_ID
from dockrion.web.service import SERVICE
from dockrion.web.urls import route_pattern

REPLAYED = {REPLAYED_HEADER: "true"}
_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)
# How long a run may wait, for its slot and for uncounted answers, without outliving its claim.
_WAIT_FOR_SLOT_SECONDS = 86_400
_WAIT_FOR_ANSWERS_SECONDS = 604_800
_CREATING_SECONDS = 1.0  # how long others wait for the run of a new claim
_FORGOTTEN_SECONDS = 60.0  # a claim that old without a run has had one
_STARTING_SECONDS = 50.0  # how long after its claim a run is started, since others replace an older one
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.005
_IDENTIFYING = ("run_id", "external", "webhook_url")  # query parameters
_DIGEST_LENGTH = 32  # hexadecimal digits
_INLINE_BYTES = 512 * 1024  # hashing more would delay the event loop
_packer = msgspec.msgpack.Encoder()


class _Claim(msgspec.Struct, frozen=True, array_like=True):
    """What a key is claimed with.

    Attributes:
        run_id: The run.
        incarnation: Its incarnation.
        digest: Identifies the request.
        claimed_at: Seconds since the epoch.
    """

    run_id: str
    incarnation: str
    digest: str
    claimed_at: float

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return time.time() - self.claimed_at


_unpacker = msgspec.msgpack.Decoder(_Claim)
Start = Callable[[str, str], Awaitable[Run]]


def key_of(request: web.Request) -> str | None:
    """Return the key of a request, None if it has none.

    Raises:
        InvalidRequest: It is malformed, or there are several.
    """
    if IDEMPOTENCY_HEADER not in request.headers:
        return None
    first, *others = request.headers.getall(IDEMPOTENCY_HEADER)
    if others or not _KEY.fullmatch(first):
        raise InvalidRequest(f"send one {IDEMPOTENCY_HEADER} of 1 to 255 visible ASCII characters")
    return first


async def digest_of(request: web.Request, *, has_body: bool = True) -> str:
    """Return what identifies a request that starts work: a digest of its path, query and body.

    Args:
        request: The request, its body read.
        has_body: Whether the body matters.
    """
    names = [route_pattern(request) or "", *(request.query.get(name) for name in _IDENTIFYING)]
    body = await request.read() if has_body else b""
    compute = partial(_digest, _packer.encode(names), body)
    digest: str = compute() if len(body) <= _INLINE_BYTES else await in_thread(compute, "dockrion-digest")
    return digest


def run_seconds(request: web.Request) -> int:
    """Return how long the claim of a run lasts: as long as the run."""
    streaming = request.app[SERVICE].dockfile.streaming
    waiting = 0 if streaming.events.waiting_counts else _WAIT_FOR_ANSWERS_SECONDS
    working = streaming.events.max_run_duration
    return _WAIT_FOR_SLOT_SECONDS + waiting + working + streaming.redis.stream_ttl_seconds


async def start_once(
    request: web.Request, key: str, digest: str, start: Start, *, run_id: str | None, seconds: int
) -> tuple[Run, bool]:
    """Start the run of a key, unless that was done already.

    Args:
        request: The caller's request.
        key: Its key.
        digest: What identifies the request.
        start: Starts a run of an id and an incarnation.
        run_id: The id that the run gets, None for one that the service chooses.
        seconds: How long the claim lasts.

    Returns:
        The record of the run, and whether it was there already.

    Raises:
        IdempotencyMismatch: The key was sent with another request.
        RunExists: The id is taken by another run.
        ServiceUnavailable: The claim is too old to start its run; it will be replaced.
        DockrionError: Whatever `start` raises.
    """
    claim, run = await _claim(request, key, digest, run_id, seconds)
    if claim.digest != digest:
        raise IdempotencyMismatch(f"this {IDEMPOTENCY_HEADER} was sent with another body or path")
    if run is None:
        if claim.age > _STARTING_SECONDS:
            raise ServiceUnavailable("the request was delayed; send it again")
        try:
            return await start(claim.run_id, claim.incarnation), False
        except RunExists:
            run = await _run_of(claim, request.app[SERVICE].backend)
            if run is None:
                raise
    request[RUN_ID] = run.run_id
    return run, True


async def repeated_run(request: web.Request, run_id: str, digest: str | None) -> Run | None:
    """Return the run of an id that the same caller has chosen in an equal request, None if there is none."""
    caller = request[CALLER]
    try:
        run = await request.app[SERVICE].backend.get(run_id)
    except RunNotFound:
        return None
    owner = None if caller is None else caller.owner
    return run if run.request_digest == digest and run.owner == owner else None


async def _claim(
    request: web.Request, key: str, digest: str, run_id: str | None, seconds: int
) -> tuple[_Claim, Run | None]:
    """Claim a key, and return its claim, which may be another request's, with the run that was started.

    Raises:
        ServiceUnavailable: The storage cannot be reached.
    """
    service, caller = request.app[SERVICE], request[CALLER]
    owner = None if caller is None else caller.owner
    name = hashlib.sha256(_packer.encode([owner, key])).hexdigest()
    replaced: bytes | None = None
    for _ in range(_ATTEMPTS):
        new_id = run_id or await service.new_run_id()
        new = _Claim(new_id, ids.new_incarnation(), digest, time.time())
        value = _packer.encode(new)
        stored = await service.backend.claim(name, value, seconds, replaced)
        if stored == value:
            return new, None
        replaced = stored
        with suppress(msgspec.DecodeError):  # of what is not a claim, which is replaced
            claim = _unpacker.decode(stored)
            run = await _wait_for_run(claim, service.backend)
            if run is not None or claim.age <= _FORGOTTEN_SECONDS:
                return claim, run
    raise ServiceUnavailable("other requests with this key are under way; try again later")


async def _wait_for_run(claim: _Claim, log: RunLog) -> Run | None:
    """Return the run of a claim, None if it is not started within the usual time."""
    deadline = time.monotonic() + min(_CREATING_SECONDS, _CREATING_SECONDS - claim.age)
    pause = _FIRST_PAUSE_SECONDS
    while (run := await _run_of(claim, log)) is None and time.monotonic() < deadline:
        await asyncio.sleep(pause)
        pause *= 2
    return run


async def _run_of(claim: _Claim, log: RunLog) -> Run | None:
    try:
        run = await log.get(claim.run_id)
    except RunNotFound:
        return None
    return run if run.incarnation == claim.incarnation else None


def _digest(head: bytes, body: bytes) -> str:
    digest = hashlib.sha256(head)
    digest.update(body)
    return digest.hexdigest()[:_DIGEST_LENGTH]
