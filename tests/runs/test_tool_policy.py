"""Calls of tools that are denied are counted, also outside of runs."""

import pytest

from dockrion.runs.tool_policy import ToolDenied, ToolPolicy, check_without_run


def test_denial_outside_of_a_run_is_counted_by_each_policy_that_denies() -> None:
    counted: list[str] = []
    strict = ToolPolicy([], lambda: counted.append("strict"))
    lax = ToolPolicy(["search"], lambda: counted.append("lax"))
    for policy in (strict, lax):
        policy.enforce()
    try:
        with pytest.raises(ToolDenied):
            check_without_run("search")
        assert counted == ["strict"]
        with pytest.raises(ToolDenied):
            check_without_run("shell")
        assert sorted(counted) == ["lax", "strict", "strict"]
    finally:
        for policy in (strict, lax):
            policy.close()
    check_without_run("shell")
    assert len(counted) == 3
