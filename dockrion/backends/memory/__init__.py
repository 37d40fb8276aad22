"""The backend in the memory of one process: the default. Import `MemoryBackend` from here."""

from dockrion.backends.memory.backend import MemoryBackend

__all__ = ["MemoryBackend"]
