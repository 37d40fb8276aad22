"""The log in Redis, shared by any number of replicas."""

from dockrion.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
