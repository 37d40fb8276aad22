"""The Lua scripts: which arguments they refuse, that they write nothing then, which keys they use."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import ResponseError

from dockrion.backends.redis import Declaration, find_problem
from dockrion.backends.redis import keys as names
from dockrion.backends.redis.connections import ServerConnections
from dockrion.backends.redis.keys import Command, Script
from dockrion.backends.work_queue import next_attempt
from tests.backends.conformance import begin, cancel_requests, new_run
from tests.backends.service import Service
from tests.backends.test_conformance_outbox import acknowledge, copying, next_lease, outbox_of
from tests.support import wait_until

Call = tuple[list[str], list[Any]]
NOT_NUMBERS = ["", "x", "1x", "--1", "\0"]
NEGATIVE = [*NOT_NUMBERS, "-1"]
NOT_POSITIVE = [*NEGATIVE, "0"]


def packed(*parts: Any) -> bytes:
    return msgspec.msgpack.encode(parts)


NOT_EVENTS = [
    *(b"", b"\x93\xa1t", b"\xc1", b"[]", msgspec.msgpack.encode(3), msgspec.msgpack.encode({"t": "x"})),
    *(packed(*["t", "1.5", "{}"][:size]) for size in (1, 2)),
    *(packed("t", "1.5", "{}", *["t", "1.5"][:size]) for size in (1, 2)),
    *(packed("t", "1.5", wrong) for wrong in (None, 1, ["{}"], {"a": 1}, b"{}")),
    packed(1, "1.5", "{}", "t", "1.5", "{}"),
]
RUN = "run-1"
ME = "me"
IT = "0123456789abcdef"  # the incarnation


@dataclass
class Shape:
    """A script, the positions of its numbers, and which numbers it refuses."""

    script: Script
    numbers: dict[int, list[str]] = field(default_factory=dict)
    open_end: bool = False
    spare_keys: int = 0


SHAPES = {
    "append": Shape(
        names.APPEND,
        {
            8: [*NOT_NUMBERS, "1", "0000", "002"],
            11: NEGATIVE,
            3: NOT_NUMBERS,
            4: NOT_POSITIVE,
            5: NOT_POSITIVE,
        },
    ),
    "beat": Shape(names.BEAT, {1: NOT_POSITIVE, 2: NOT_NUMBERS, 3: NEGATIVE}),
    "cancel": Shape(names.CANCEL),
    "claim": Shape(names.CLAIM, {1: NOT_POSITIVE}),
    "count": Shape(names.COUNT, {0: NOT_POSITIVE}),
    "create": Shape(names.CREATE, {4: NOT_POSITIVE}),
    "declare": Shape(names.DECLARE, {2: NOT_POSITIVE}),
    "dequeue": Shape(names.DEQUEUE),
    "enqueue": Shape(
        names.ENQUEUE, {1: NEGATIVE, 2: NEGATIVE, 3: NEGATIVE, 4: NOT_NUMBERS, 5: NOT_POSITIVE}, spare_keys=2
    ),
    "get": Shape(names.GET, {0: NEGATIVE}),
    "hold": Shape(names.HOLD, {1: NEGATIVE}),
    "offer": Shape(names.OFFER, {1: NEGATIVE, 3: NEGATIVE, 4: NOT_POSITIVE}),
    "open_inbox": Shape(names.OPEN_INBOX, {0: NOT_POSITIVE}),
    "outbox_add": Shape(names.OUTBOX_ADD, {0: NEGATIVE, 1: NOT_POSITIVE}, open_end=True),
    "outbox_claim": Shape(names.OUTBOX_CLAIM, {0: NEGATIVE, 1: NOT_POSITIVE, 2: NEGATIVE}),
    "outbox_postpone": Shape(
        names.OUTBOX_POSTPONE, {1: NEGATIVE, 2: NEGATIVE, 3: NOT_POSITIVE, 4: NOT_NUMBERS, 5: NOT_NUMBERS}
    ),
    "outbox_progress": Shape(names.OUTBOX_PROGRESS, {1: ["x", "1", "1-", "-1", "1-1 "], 3: NOT_POSITIVE}),
    "outbox_read": Shape(names.OUTBOX_READ, {1: NOT_POSITIVE, 2: NEGATIVE}),
    "forget": Shape(names.FORGET),
    "pass": Shape(names.PASS),
    "pop": Shape(names.POP, {1: NOT_POSITIVE, 2: NOT_POSITIVE}),
    "permitted": Shape(names.PERMITTED, {0: NOT_POSITIVE}),
    "read": Shape(names.READ, {1: NEGATIVE, 2: NOT_POSITIVE, 3: NOT_NUMBERS}),
    "register": Shape(names.REGISTER, {3: NOT_NUMBERS, 4: NOT_POSITIVE}, spare_keys=2),
    "release": Shape(names.RELEASE, {2: NEGATIVE, 5: NOT_POSITIVE}),
    "renew": Shape(names.RENEW, {2: NOT_POSITIVE}),
    "secret": Shape(names.SECRET, {1: NOT_POSITIVE}),
    "take": Shape(names.TAKE),
    "waiting": Shape(names.WAITING),
    "watch": Shape(names.WATCH, {2: NOT_NUMBERS, 3: NOT_NUMBERS, 4: NOT_POSITIVE}, open_end=True),
}
IN_ORDER = (
    *(
        "register",
        "create",
        "watch",
        "beat",
        "open_inbox",
        "declare",
        "append",
        "cancel",
        "renew",
        "permitted",
        "get",
        "read",
        "count",
        "hold",
        "claim",
        "secret",
        "outbox_add",
        "outbox_claim",
        "outbox_postpone",
        "outbox_progress",
        "outbox_read",
        "enqueue",
        "offer",
        "pass",
        "pop",
        "forget",
        "dequeue",
        "waiting",
        "release",
        "take",
    ),
)


def calls(keys: names.Keys) -> dict[str, Call]:
    """Return a correct call of each script."""
    run, events = keys.log(RUN)
    service = [keys.replicas, keys.owned(ME), keys.expiry]
    deliveries, outbox = list(keys.deliveries), list(keys.outbox(RUN, IT))
    queue = [keys.queue, keys.job_sizes]
    two = packed(*["token", "1.5", "{}"] * 2)
    return {
        "append": (
            [run, events, keys.watchers(RUN)],
            [ME, IT, "e", 1, 10, 60, "r", "", "000", "", "", 1000, two],
        ),
        "beat": ([*service, keys.format, *queue], [ME, 60, 1.5, 1, "run-0", "e0"]),
        "cancel": ([run], [IT, "null"]),
        "claim": ([keys.claim("n")], ["v", 60, ""]),
        "count": ([keys.counter("n", 60)], [60]),
        "create": ([run, events, keys.watchers(RUN)], [ME, IT, "r", "e", 60, "[1]", "job", 0]),
        "declare": ([keys.declarations, keys.replicas], [ME, "{}", 60]),
        "dequeue": (queue, ["1:run-2"]),
        "enqueue": ([*queue, keys.expiry, *keys.indexes("somebody")], ["1:run-2", 3, 10, 0, 1.5, 60]),
        "get": ([run], [1000]),
        "hold": ([keys.holder("n")], [ME, 60]),
        "open_inbox": ([keys.inbox(ME)], [60]),
        "outbox_add": (deliveries, [1000, 60, "d"]),
        "outbox_claim": (deliveries, [1000, 60, 10]),
        "outbox_postpone": (deliveries, ["d", 1, 1000, 60, 5, 5]),
        "outbox_progress": (outbox, ["target", "1-1", "", 60]),
        "outbox_read": (outbox, ["target", 10, 1000]),
        "offer": ([*queue, keys.idle, keys.replicas], ["1:run-2", 3, 0, 0, 60]),
        "pass": ([keys.queue, keys.idle, keys.replicas], [ME]),
        "pop": ([*queue, keys.idle, keys.owned(ME), keys.replicas], [ME, 2, 60]),
        "forget": ([keys.replicas, keys.owned(ME)], [ME]),
        "permitted": ([keys.ping], [60]),
        "read": ([run, events], [IT, 0, 10, 1000]),
        "register": ([*service, *keys.indexes("somebody")], [ME, RUN, "e", 1.5, 60]),
        "release": ([run, events, keys.watchers(RUN)], [ME, IT, 2, "r", "", 60, ""]),
        "renew": ([run, events, keys.watchers(RUN)], [ME, IT, 60]),
        "secret": ([keys.secret], ["s" * 32, 60]),
        "take": ([run], [ME, "e"]),
        "waiting": (queue, []),
        "watch": ([run, keys.watchers(RUN)], [ME, IT, 1, 5, 60, "dead"]),
    }


def run_script(service: Service, name: str, keys: list[str], arguments: list[Any]) -> Any:
    return service.ask("EVAL", SHAPES[name].script.text, len(keys), *keys, *arguments)


def fill(service: Service) -> None:
    """Store a run with all its keys."""
    correct = calls(service.keys)
    for name in IN_ORDER[:7]:
        run_script(service, name, *correct[name])


def wrong_calls(name: str, keys: list[str], arguments: list[Any]) -> Iterator[Call]:
    for wrong in ([], keys[: len(keys) - SHAPES[name].spare_keys - 1], [*keys, keys[-1]]):
        yield wrong, arguments
    if arguments:
        yield keys, []
    fewest = {"beat": 4, "watch": 5, "outbox_add": 3}.get(name, len(arguments))
    if arguments:
        yield keys, arguments[: fewest - 1]
    if not SHAPES[name].open_end:
        yield keys, [*arguments, "x"]
        if arguments:
            yield keys, arguments[:-1]
    if name == "append":
        for events in NOT_EVENTS:
            yield keys, [*arguments[:-1], events]
        yield keys, [*arguments[:8], "100", *arguments[9:-1], packed()]  # a log closed without an event
    for place, refused in SHAPES[name].numbers.items():
        for number in refused:
            yield keys, [*arguments[:place], number, *arguments[place + 1 :]]


def test_every_script_is_tested() -> None:
    assert {shape.script for shape in SHAPES.values()} == set(names.SCRIPTS)
    assert set(IN_ORDER) == set(SHAPES)


@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
@pytest.mark.parametrize("name", SHAPES)
async def test_wrong_arguments_are_refused_and_change_nothing(
    service: Service, name: str, filled: bool
) -> None:
    if filled:
        fill(service)
    before = service.snapshot()
    for keys, arguments in wrong_calls(name, *calls(service.keys)[name]):
        with pytest.raises(ResponseError, match=f"^wrong arguments for {name}$"):
            run_script(service, name, keys, arguments)
        assert service.snapshot() == before, (keys, arguments)


async def test_wrong_copies_are_refused_and_change_nothing(service: Service) -> None:
    fill(service)
    keys, arguments = calls(service.keys)["append"]
    keys = [*keys, *service.keys.outbox(RUN, IT)]
    arguments = [*arguments[:3], 3, *arguments[4:]]
    before = service.snapshot()
    copies = packed(1, "target")
    refused: list[list[Any]] = [
        *([60, "", ""], [60, "", "", copies, ""], ["0", "", "", copies], ["x", "", "", copies]),
        *([60, "", each] for each in (b"", packed(1), packed(0, "t"), packed(3, "t"), packed(1.5, "t"))),
        *([60, "", each] for each in (packed("1", "t"), packed(1, 1), packed(1, "t", 1), packed(1, None))),
    ]
    for wrong in refused:
        with pytest.raises(ResponseError, match=r"^wrong arguments for append$"):
            run_script(service, "append", keys, [*arguments, *wrong])
        assert service.snapshot() == before, wrong
    with pytest.raises(ResponseError, match=r"^wrong arguments for append$"):
        run_script(service, "append", keys[:4], [*arguments, 60, "", "", copies])
    assert run_script(service, "append", keys, [*arguments, 60, "", "", copies])[0] == b"ok"
    assert service.ask("XLEN", keys[3]) == 1


async def test_events_with_a_nil_part_are_refused_and_change_nothing(service: Service) -> None:
    fill(service)
    before = service.snapshot()
    keys, arguments = calls(service.keys)["append"]
    for hole in range(3):
        event: list[str | None] = ["t", "1.5", "{}"]
        event[hole] = None
        events = packed("t", "1", "{}", *event)
        with pytest.raises(ResponseError):
            run_script(service, "append", keys, [*arguments[:3], 3, *arguments[4:-1], events])
        assert service.snapshot() == before


@pytest.mark.parametrize(
    ("name", "place", "reply"),
    [
        ("append", 1, [b"foreign"]),
        ("cancel", 0, None),
        ("create", 1, 0),
        ("read", 0, None),
        ("release", 1, None),
        ("renew", 1, [b"foreign"]),
        ("watch", 1, [b"replaced"]),
    ],
)
async def test_another_incarnation_is_refused_and_changes_nothing(
    service: Service, name: str, place: int, reply: Any
) -> None:
    fill(service)
    before = service.snapshot()
    keys, arguments = calls(service.keys)[name]
    for other in ("", "fedcba9876543210", f"{IT} "):
        found = run_script(service, name, keys, [*arguments[:place], other, *arguments[place + 1 :]])
        assert found[: len(reply)] == reply if isinstance(reply, list) else found == reply
    assert service.snapshot() == before


async def test_correct_calls_are_not_refused(service: Service) -> None:
    correct = calls(service.keys)
    for name in IN_ORDER:
        run_script(service, name, *correct[name])


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("append", 0),
        ("append", 1),
        ("cancel", 0),
        ("create", 0),
        ("read", 0),
        ("read", 1),
        ("renew", 0),
        ("watch", 1),
        ("register", 0),
        ("beat", 0),
        ("enqueue", 0),
        ("enqueue", 1),
        ("offer", 1),
        ("offer", 2),
        ("pop", 2),
        ("pop", 3),
    ],
)
async def test_keys_of_another_type_are_not_changed(service: Service, name: str, place: int) -> None:
    fill(service)
    service.ask("HSET", service.keys.run(RUN), "last", 2)
    keys, arguments = calls(service.keys)[name]
    service.ask("DEL", keys[place])
    service.ask("SET", keys[place], "not ours", "EX", 60)
    if name == "append":
        arguments[3] = 1 if place == 0 else 3
    before = service.snapshot()
    with pytest.raises(ResponseError, match=r"WRONGTYPE|wrong kind of value"):
        run_script(service, name, keys, arguments)
    assert service.snapshot() == before


@pytest.mark.parametrize("name", SHAPES)
async def test_a_script_uses_no_key_but_those_it_declares(service: Service, name: str) -> None:
    fill(service)
    keys, arguments = calls(service.keys)[name]
    user = f"only-{service.agent}-{name}"
    patterns = [f"~{key}" for key in keys]
    service.ask("ACL", "SETUSER", user, "reset", "on", ">secret", "+@all", *patterns)
    try:
        where = urlsplit(service.server.url)
        with Redis(
            host=where.hostname or "", port=where.port or 0, username=user, password="secret"
        ) as limited:
            limited.execute_command("EVAL", SHAPES[name].script.text, len(keys), *keys, *arguments)
            with pytest.raises(ResponseError, match=r"(?i)permission"):
                limited.execute_command("GET", "another")
    finally:
        service.ask("ACL", "DELUSER", user)


@pytest.mark.parametrize("name", SHAPES)
def test_a_script_builds_no_key_names(name: str) -> None:
    text = SHAPES[name].script.text.removeprefix(names._PRELUDE)  # whose functions are given their keys
    code = re.sub(r"--[^\n]*|redis\.pcall\(\.\.\.\)", "", text)
    declared = {f"KEYS[{place}]" for place in "123456n"}
    for left, right in re.findall(r"local ([\w, ]+) = (KEYS\[[^\n]+)", code):
        given = re.split(r",\s*", right)
        assert set(given) <= declared
        declared |= set(re.split(r",\s*", left)[: len(given)])
    if "in ipairs(KEYS)" in code:
        declared.add("key")
    touched = re.findall(r"redis\.p?call\(\s*'(\w+)',\s*(.+?)\s*[,)]", code)
    assert len(touched) == len(re.findall(r"redis\.p?call", code))
    assert {key for _, key in touched} <= declared


@pytest.mark.parametrize("spread", [False, True], ids=["single", "cluster"])
@pytest.mark.parametrize("agent", ["a", "my-agent", "service", "x" * 63])
def test_the_keys_of_a_script_are_in_one_slot(agent: str, spread: bool) -> None:
    keys = names.Keys(agent, spread=spread)
    for name, (given, _) in calls(keys).items():
        assert len({key_slot(key.encode()) for key in given}) == 1, name


@pytest.mark.parametrize("spread", [False, True], ids=["single", "cluster"])
@pytest.mark.parametrize("run_id", ["r", "0", "service", "agent", "a_b-C", "x" * 128])
def test_the_keys_of_a_run_are_distinct_and_in_one_slot(run_id: str, spread: bool) -> None:
    keys = names.Keys("agent", spread=spread)
    given = [*keys.log(run_id), keys.watchers(run_id), *keys.outbox(run_id, IT)]
    assert len({key_slot(key.encode()) for key in given}) == 1
    assert key_slot(given[0].encode()) == key_slot(run_id.encode())
    common = [keys.replicas, keys.runs, keys.expiry, keys.ping, keys.owned(run_id), keys.runs_of(run_id)]
    common += [keys.secret, *keys.deliveries, keys.queue, keys.job_sizes, keys.idle]
    assert len({key_slot(key.encode()) for key in common}) == 1
    others = [keys.inbox(run_id), keys.counter(run_id, 1), keys.holder(run_id), keys.claim(run_id)]
    assert len({*given, *common, *others}) == 21


def test_names_on_a_single_server_never_change() -> None:
    keys = names.Keys("a")
    assert keys.replicas == "dockrion:a:{service}:replicas"
    assert keys.inbox("r") == "dockrion:a:{service}:control:r"
    assert keys.holder("n").startswith("dockrion:a:{service}:holder:")
    assert keys.claim("n").startswith("dockrion:a:{service}:claim:")
    assert keys.counter("n", 1).startswith("dockrion:a:{service}:uses:")


def test_names_in_a_cluster_spread_over_its_slots() -> None:
    keys = names.Keys("a", "mine", spread=True)
    numbers = range(1000)
    for name in (keys.inbox, keys.holder, keys.claim, lambda n: keys.counter(n, 1), keys.run):
        spread = [name(str(n)) for n in numbers]
        assert all(key.startswith("mine:a:") for key in spread)
        thirds = [key_slot(key.encode()) * 3 // 16_384 for key in spread]
        assert min(thirds.count(third) for third in range(3)) > 200
    services = {names.Keys(f"agent-{n}", spread=True).runs for n in numbers}
    assert len({key_slot(key.encode()) for key in services}) > 900


def keys_of(command: Command) -> list[bytes]:
    """Return the keys of a command of any kind that replicas send."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    match words[0]:
        case b"EVALSHA":
            return words[3 : 3 + int(words[2])]
        case b"DEL":
            return words[1:]
        case b"XREAD":
            return words[words.index(b"STREAMS") + 1 : -1]
        case b"INFO" | b"SCRIPT":
            return []
    return words[1:2]


@pytest.mark.usefixtures("fast_beats")
async def test_no_command_in_the_life_of_a_run_has_keys_in_two_slots(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Command] = []
    execute = ServerConnections._execute

    async def noted(connections: ServerConnections, commands: list[Command], **more: Any) -> list[Any]:
        sent.extend(commands)
        return await execute(connections, commands, **more)

    monkeypatch.setattr(ServerConnections, "_execute", noted)
    one = await service.replica(copying=copying, declaration=Declaration("agent:handle", {}, "here", 1))
    other = await service.replica()
    writer = await begin(one)
    async with other.watch(writer.run_id, limit=5) as watch, cancel_requests(one) as received:
        await writer.write(3)
        lease = await next_lease(one)
        await acknowledge(one, lease.delivery)
        await outbox_of(one).finish(lease)
        await outbox_of(one).claim(1)
        await watch.wait(10)
        await other.read(writer.run_id, 0, 10)
        await other.request_cancel(writer.run_id, "r")
        await received.get()
        await wait_until(lambda: any(names.RENEW.digest in command for command in sent))
    await one.recent(status=None, limit=10, cursor=None)
    await one.create(new_run(owner="ann"))
    await one.recent(status=None, limit=10, cursor=None, owner="ann")
    await one.count("n", 60)
    await one.hold("n", "me", 60)
    await one.claim("n", b"v", 60)
    await one.secret()
    for _ in range(2):
        await one.queue.enqueue(new_run(max_attempts=2), b"job", 10)
    first, second = await other.queue.take(2, lambda _: False)
    assert await other.queue.release(next_attempt(first.run, "shutdown"))
    await other.request_cancel(second.run.run_id, None)
    await one.request_cancel(first.run.run_id, None)
    one.queue.wake()
    await one.queue.decline()
    await one.queue.queue_state()
    await service.kill(one)
    await wait_until(lambda: one.replica not in service.alive())
    await service.close(other)
    assert await find_problem(service.server.url, agent=service.agent, key_prefix="dockrion") is None
    run = {command[1] for command in sent if command[0] == "EVALSHA"}
    assert run >= {script.digest for script in names.SCRIPTS}
    for command in sent:
        assert len({key_slot(key) for key in keys_of(command)}) <= 1, command
