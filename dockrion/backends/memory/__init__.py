"""The log in this process: the embedded default."""

from dockrion.backends.memory.backend import MemoryBackend

__all__ = ["MemoryBackend"]
