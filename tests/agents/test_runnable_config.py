"""Configs of requests and Dockfiles: validation and merging."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.agents.runnable_config import merge, parse

NAMES = st.text("abcxyz", min_size=1, max_size=3)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "configurable": st.dictionaries(NAMES, st.integers()),
        "recursion_limit": st.integers(1, 100_000),
        "max_concurrency": st.integers(1, 10_000),
        "run_name": st.text(),
        "tags": st.lists(st.text()),
        "metadata": st.dictionaries(NAMES, st.integers()),
    },
)


@given(CONFIGS)
def test_parsed_config_has_the_given_fields_only(config: dict[str, Any]) -> None:
    kept = parse(config)
    assert kept.items() <= config.items()
    assert not any(config[name] for name in config.keys() - kept.keys())


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (None, "object"),
        ([], "object"),
        ({"callbacks": []}, "callbacks"),
        ({"recursion_limit": 0}, "$.recursion_limit"),
        ({"recursion_limit": "many"}, "$.recursion_limit"),
        ({"tags": "one"}, "$.tags"),
        ({"configurable": []}, "$.configurable"),
        ({"configurable": {"stream_context": 1}}, "$.configurable.stream_context"),
        ({"configurable": {"__pregel_resuming": True}}, "$.configurable.__pregel_resuming"),
    ],
)
def test_invalid_config_is_rejected_with_its_path(config: Any, where: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        parse(config)
    assert where in str(refused.value)


@given(CONFIGS, CONFIGS)
def test_second_config_takes_precedence_key_by_key(first: dict[str, Any], second: dict[str, Any]) -> None:
    both = merge(first, second)
    assert both.keys() == first.keys() | second.keys()
    for name, value in both.items():
        if isinstance(value, dict):
            assert value == {**first.get(name, {}), **second.get(name, {})}
        else:
            assert value == second.get(name, first.get(name))


def test_merge_changes_neither_config() -> None:
    first, second = {"configurable": {"a": 1}}, {"configurable": {"b": 2}}
    merge(first, second)["configurable"]["c"] = 3
    assert (first, second) == ({"configurable": {"a": 1}}, {"configurable": {"b": 2}})
    assert merge(first, None) == first
