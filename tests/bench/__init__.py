"""Benchmarks: `python -m tests.bench`. They print figures, and assert nothing but that none is lost."""
