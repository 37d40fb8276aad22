"""The names of all keys in Redis, and the scripts that write to them.

Pure: neither connects nor reads anything but the scripts. Replicas of different versions share the
keys during a rolling update, so names and contents cannot be changed; each version sends its own
scripts, so their arguments can.

Keys of one run share a hash tag, and so do those of the service, so that the keys of a script are
always in one slot (Redis Cluster specification, "Hash tags"). What no script combines with other keys
(inboxes, counters, holders, claims) has no hash tag in a cluster, so that its load spreads over the
nodes. On a single server its names are those of earlier versions.
"""

from hashlib import sha1, sha256
from importlib.resources import files

import msgspec

Command = tuple[bytes | str | int | float, ...]
ANY_INCARNATION = "*"  # to a script: the run that has the id, whichever that is
QUEUE = "queue"  # the owner of a run that waits for a replica with a free slot; the scripts know it


class Keys:
    """Names of keys.

    Args:
        agent: The name of the agent; replicas with the same name are one service.
        prefix: What all names begin with; contains no braces.
        spread: Whether the names are those for a cluster.
    """

    def __init__(self, agent: str, prefix: str = "dockrion", *, spread: bool = False) -> None:
        self._runs = f"{prefix}:{agent}:"
        tag = f"service:{agent}" if spread else "service"  # services of one cluster are in different slots
        self._service = f"{self._runs}{{{tag}}}:"
        self._single = self._runs if spread else self._service  # of keys that no script uses with others
        self.replicas = f"{self._service}replicas"  # hash: replica → number of its heartbeats
        self.runs = f"{self._service}runs"  # sorted set: index entries of all runs, by name
        self.expiry = f"{self._service}expiry"  # sorted set: the same, by when to check for expiry
        self.declarations = f"{self._service}declarations"  # hash: replica → what it declares of itself
        self.format = f"{self._service}format"
        self.queue = f"{self._service}queue"  # sorted set: index entries, by when to take the runs
        self.job_sizes = f"{self._service}job-sizes"  # hash: index entry of a waiting run → size of its job
        self.idle = f"{self._service}idle"  # set: replicas that are told of the next waiting run
        self.secret = f"{self._service}secret"
        self.ping = f"{self._service}ping"
        self.deliveries = (  # sorted sets: deliveries by the expiry of their lease, and by their oldest event
            f"{self._service}webhooks",
            f"{self._service}webhooks:since",
        )

    def runs_of(self, owner: str) -> str:
        """Return the sorted set of the runs of one caller, as `runs`."""
        return f"{self._service}runs-of:{_digest(owner)}"

    def indexes(self, owner: str | None) -> tuple[str, ...]:
        """Return the sorted sets that list a run of a caller, the narrowest last."""
        return (self.runs,) if owner is None else (self.runs, self.runs_of(owner))

    def counter(self, name: str, window: int) -> str:
        """Return the counter of something in a window of so many seconds."""
        return f"{self._single}uses:{_digest(f'{window}:{name}')}"

    def holder(self, name: str) -> str:
        """Return the holder of a name."""
        return f"{self._single}holder:{_digest(name)}"

    def claim(self, name: str) -> str:
        """Return the value with which a name is claimed."""
        return f"{self._single}claim:{_digest(name)}"

    def owned(self, replica: str) -> str:
        """Return the set of the ids of a replica's unfinished runs."""
        return f"{self._service}owned:{replica}"

    def inbox(self, replica: str) -> str:
        """Return the stream of the messages to a replica."""
        return f"{self._single}control:{replica}"

    def run(self, run_id: str) -> str:
        """Return the hash with a run's record."""
        return f"{self._runs}{{{run_id}}}:run"

    def log(self, run_id: str) -> tuple[str, str]:
        """Return the run's hash and the stream of its events."""
        return self.run(run_id), f"{self._runs}{{{run_id}}}:events"

    def request(self, run_id: str, number: str) -> str:
        """Return the body of a request to the run's owner."""
        return f"{self._runs}{{{run_id}}}:question:{number}"

    def watchers(self, run_id: str) -> str:
        """Return the hash: replica that watches the run → number of its readers."""
        return f"{self._runs}{{{run_id}}}:watchers"

    def outbox(self, run_id: str, incarnation: str) -> tuple[str, str]:
        """Return the stream of the events that wait for delivery, and the hash with the state of that."""
        outbox = f"{self._runs}{{{run_id}}}:outbox:{incarnation}"
        return outbox, f"{outbox}:deliveries"


def _digest(text: str) -> str:
    """Return a name of fixed length for a caller's text, which it does not reveal."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Script(msgspec.Struct, frozen=True):
    """A Lua script, which Redis runs atomically."""

    text: str
    digest: bytes

    def __call__(self, keys: tuple[str, ...], *arguments: bytes | str | float) -> Command:
        """Return the command that runs it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


_SCRIPTS = files(__package__) / "scripts"
_PRELUDE = (_SCRIPTS / "prelude.lua").read_text("utf-8")


def _script(name: str) -> Script:
    text = _PRELUDE + (_SCRIPTS / f"{name}.lua").read_text("utf-8")
    # Redis names scripts by their SHA-1; nothing relies on it for security.
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest().encode())


APPEND = _script("append")
BEAT = _script("beat")
CANCEL = _script("cancel")
CLAIM = _script("claim")
COUNT = _script("count")
CREATE = _script("create")
DECLARE = _script("declare")
DEQUEUE = _script("dequeue")
ENQUEUE = _script("enqueue")
FORGET = _script("forget")
GET = _script("get")
HOLD = _script("hold")
OFFER = _script("offer")
OPEN_INBOX = _script("open_inbox")
OUTBOX_ADD = _script("outbox_add")
OUTBOX_CLAIM = _script("outbox_claim")
OUTBOX_POSTPONE = _script("outbox_postpone")
OUTBOX_PROGRESS = _script("outbox_progress")
OUTBOX_READ = _script("outbox_read")
PASS = _script("pass")
PERMITTED = _script("permitted")
POP = _script("pop")
READ = _script("read")
REGISTER = _script("register")
RELEASE = _script("release")
RENEW = _script("renew")
SECRET = _script("secret")
TAKE = _script("take")
WAITING = _script("waiting")
WATCH = _script("watch")
SCRIPTS = (
    *(APPEND, BEAT, CANCEL, CLAIM, COUNT, CREATE, DECLARE, DEQUEUE, ENQUEUE, FORGET, GET, HOLD),
    *(OFFER, OPEN_INBOX, OUTBOX_ADD, OUTBOX_CLAIM, OUTBOX_POSTPONE, OUTBOX_PROGRESS, OUTBOX_READ),
    *(PASS, PERMITTED, POP, READ, REGISTER, RELEASE, RENEW, SECRET, TAKE, WAITING, WATCH),
)
