from tests.backends.conformance import backend, roomy

__all__ = ["backend", "roomy"]
