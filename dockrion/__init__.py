"""Dockrion: one AI agent behind HTTP, from one YAML file."""

__version__ = "0.1.0"
