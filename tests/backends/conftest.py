from tests.backends.conformance import backend, unbounded
from tests.backends.service import fast_beats, service, single_beat
from tests.backends.trouble import failures, logged, on_redis, server

__all__ = [
    "backend",
    "failures",
    "fast_beats",
    "logged",
    "on_redis",
    "server",
    "service",
    "single_beat",
    "unbounded",
]
