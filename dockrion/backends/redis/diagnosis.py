"""What `dockrion doctor` finds out about a Redis: whether a service could use it."""

from dockrion.backends.redis import records
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.health import NewerFormat
from dockrion.backends.redis.keys import PERMITTED, Keys
from dockrion.errors import CorruptLog, ServiceUnavailable

_KEY_TTL = 60


async def find_problem(url: str, *, agent: str, key_prefix: str) -> str | None:
    """Return why a service could not use a Redis, None if it can.

    Args:
        url: The URL of the Redis.
        agent: The name of the agent.
        key_prefix: What the names of all keys begin with.

    Raises:
        StartError: The URL is malformed.
    """
    client = RedisClient(url, pool_size=1)
    keys = Keys(agent, key_prefix, spread=client.spread)
    try:
        await client.check_servers()
        (refused,) = await client.send_background(PERMITTED((keys.ping,), _KEY_TTL))
        if refused:
            names = ", ".join(map(bytes.decode, refused))
            return f"the user of streaming.redis.url may not use: {names}; the guide lists what is needed"
        (stored,) = await client.send_background(("GET", keys.format))
    except (ServiceUnavailable, CorruptLog) as error:
        return client.health.last_failure or str(error)
    finally:
        await client.aclose()
    if stored is not None and stored.isdigit() and int(stored) > records.FORMAT:
        return NewerFormat(int(stored), records.FORMAT).message
    return None
