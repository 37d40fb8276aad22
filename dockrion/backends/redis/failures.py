"""The kinds of failures of Redis, and what an operator can do about each."""

from redis import exceptions

NO_REPLY = "UNREACHABLE"
UNBLOCKED = "UNBLOCKED"
REFUSED = "REFUSED"
LARGE = "LARGE"
ADVICE = {
    NO_REPLY: "no connection, or no reply; is it running, and is the address right?",
    "POOL": "all connections to it are busy; raise streaming.redis.connection_pool_size",
    "MAXCLIENTS": "it accepts no more connections; raise its maxclients",
    "NOAUTH": "it requires a password; put it into streaming.redis.url",
    "WRONGPASS": "it refuses the user or the password of streaming.redis.url",
    "NOPASS": "it has no password, streaming.redis.url has one",
    "NOPERM": "the user of streaming.redis.url may not use all the commands and keys that the guide lists",
    "OOM": "its memory is full, so that nothing can be stored",
    "READONLY": "it is a read-only replica; streaming.redis.url must name the primary",
    "MISCONF": "it cannot save its data, and accepts no writes",
    "NOREPLICAS": "it has too few replicas to accept writes",
    "LOADING": "it is loading its data",
    "BUSY": "a script keeps it busy",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "CLUSTERDOWN": "its cluster is down",
    "TRYAGAIN": "slots of its cluster are being moved",
    "MOVED": "it is a node of a cluster; streaming.redis.url must begin with redis+cluster://",
    "NOCLUSTER": "it is not a cluster; streaming.redis.url must begin with redis://",
    "SENTINEL": "it is a Sentinel, which stores nothing; streaming.redis.url must begin with "
    "redis+sentinel:// and name the primary",
    "NOPRIMARY": "no Sentinel names the primary; do they run, do they know it by the name in "
    "streaming.redis.url, and do they require a sentinel_password there?",
    UNBLOCKED: "it has unblocked a waiting reader",
    REFUSED: "it refuses a command",
    LARGE: "it does not take so much at once, or not in time; how fast is the connection, and how high are "
    "its proto-max-bulk-len, client-query-buffer-limit and maxmemory?",
}
# redis-py drops the code of some replies, and turns others into types of exceptions.
_SIGNS: tuple[tuple[str, str | type[Exception]], ...] = (
    ("NOPRIMARY", "No master found"),  # and what each Sentinel replied
    ("POOL", "No connection available"),
    ("MAXCLIENTS", "max number of clients"),
    ("NOAUTH", "uthentica"),  # required; or, from Redis 7, "unauthenticated multibulk length"
    ("WRONGPASS", "username-password pair"),
    ("NOPASS", "without any password"),
    ("NOPERM", exceptions.NoPermissionError),
    ("NOPERM", "executing the script can't"),  # Redis up to 7.0 for a command in a script
    ("NOPERM", "ACL failure in script"),  # later versions
    ("OOM", exceptions.OutOfMemoryError),
    ("READONLY", exceptions.ReadOnlyError),
    ("LOADING", exceptions.BusyLoadingError),
    ("MASTERDOWN", exceptions.MasterDownError),
    ("CLUSTERDOWN", exceptions.ClusterDownError),
    ("TRYAGAIN", exceptions.TryAgainError),
    ("MOVED", exceptions.MovedError),
    ("NOCLUSTER", "cluster support disabled"),
)
_UNREADABLE = ("WRONGTYPE", "wrong arguments for")


def kind_of(error: Exception) -> str | None:
    """Return the kind of a failure of the server; None if what is stored is the problem."""
    text = str(error)
    for kind, sign in _SIGNS:
        if sign in text if isinstance(sign, str) else isinstance(error, sign):
            return kind
    if not isinstance(error, exceptions.ResponseError):
        return NO_REPLY
    if any(sign in text for sign in _UNREADABLE):
        return None
    code = text.partition(" ")[0]
    return code if code in ADVICE else REFUSED
