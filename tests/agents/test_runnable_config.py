"""Configs of requests and Dockfiles: validation and merging."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.agents.runnable_config import for_run, merge, parse
from dockrion.caller import Caller
from dockrion.events import EventFilter
from dockrion.runs.agent import Call
from dockrion.runs.session import RunSession

NAMES = st.text("abcxyz", min_size=1, max_size=3)
INVALID_IDS: list[Any] = ["", True, 1.5, [], {"a": 1}]
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
        ({"configurable": {"langgraph_auth_user_id": "ann"}}, "$.configurable.langgraph_auth_user_id"),
        *(
            ({"configurable": {name: value}}, f"$.configurable.{name}")
            for name in ("thread_id", "session_id")
            for value in INVALID_IDS
        ),
    ],
)
def test_invalid_config_is_rejected_with_its_path(config: Any, where: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        parse(config)
    assert where in str(refused.value)


def test_conversation_that_is_null_is_not_named() -> None:
    assert parse({"configurable": {"thread_id": None, "session_id": None, "a": None}}) == {
        "configurable": {"a": None}
    }


CALLERS = st.builds(
    Caller, user_id=st.text("a@%/", min_size=1), tenant_id=st.none() | st.text("a@%/", min_size=1)
)
CONVERSATIONS = st.text("a@%/0", min_size=1) | st.integers(0, 1)


@given(CALLERS, CONVERSATIONS, CALLERS, CONVERSATIONS)
def test_no_two_callers_have_a_conversation_in_common(
    caller: Caller, conversation: Any, other: Caller, others: Any
) -> None:
    def stored(caller: Caller, conversation: Any) -> set[Any]:
        call = Call(None, {"configurable": {"session_id": conversation}}, caller=caller)
        session = RunSession("run", EventFilter(), None, caller)
        configurable = for_run({}, call, session, thread_id=conversation)["configurable"]
        return {configurable["thread_id"], configurable["session_id"]}

    assert len(stored(caller, conversation)) == 1
    same = (caller, str(conversation)) == (other, str(others))
    assert (stored(caller, conversation) == stored(other, others)) is same


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
