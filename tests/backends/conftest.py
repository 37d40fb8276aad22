from tests.backends.conformance import backend, roomy
from tests.backends.service import fast, service, still
from tests.backends.trouble import failures, on_redis, server, told

__all__ = ["backend", "failures", "fast", "on_redis", "roomy", "server", "service", "still", "told"]
