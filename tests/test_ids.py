"""Validation and generation of run ids."""

import time
from uuid import RFC_4122, UUID

import pytest

from dockrion import ids
from dockrion.errors import InvalidRequest


@pytest.mark.parametrize("run_id", ["a", "0", "A-b_9", "a" * 128, "9-", "order_2026-01-01", str(UUID(int=5))])
def test_a_valid_id_is_returned_unchanged(run_id: str) -> None:
    assert ids.validate_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id",
    [
        "",
        "-a",
        "_a",
        "a" * 129,
        "a b",
        "a/b",
        "a.b",
        "a:b",
        "../a",
        "a\n",
        "\na",
        "\xe9",
        "\u0661",
        "a\0",
        "{a}",
        "a%20",
    ],
)
def test_a_malformed_id_is_rejected(run_id: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 128"):
        ids.validate_run_id(run_id)


def test_generated_ids_are_valid_uuids_of_version_7() -> None:
    for _ in range(1_000):
        made = ids.uuid7()
        assert ids.validate_run_id(made) == made == str(UUID(made))
        assert (UUID(made).version, UUID(made).variant) == (7, RFC_4122)


def test_generated_ids_are_unique() -> None:
    assert len({ids.uuid7() for _ in range(10_000)}) == 10_000


def test_generated_ids_sort_by_creation_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for milliseconds in (0, 1, 2, 999, 1_000, 10**12, 1_800_000_000_000):
        monkeypatch.setattr(time, "time_ns", lambda now=milliseconds: now * 1_000_000 + 999_999)
        made.append(ids.uuid7())
        assert UUID(made[-1]).int >> 80 == milliseconds
    assert made == sorted(made)
