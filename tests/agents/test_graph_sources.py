"""The paths of nodes, subgraphs and agents in a graph."""

from dockrion.agents.graph_sources import GraphSources


def test_node_and_subgraph_make_a_path() -> None:
    sources = GraphSources()
    assert sources.of_task((), "1", "plan") == "plan"
    assert sources.of_task(("team:2", "inner:3"), "4", "write") == "team/inner/write"
    assert sources.of_task(("team:2", "1"), "4", "write") == "team/write"  # the second subgraph of one node
    assert sources.of_graph(("team:2",)) == "team"
    assert sources.of_graph(()) is None


def test_agent_stands_for_its_nodes_but_not_for_graphs_in_it() -> None:
    sources = GraphSources()
    assert sources.of_task((), "1", "model", "boss") == "boss"
    assert sources.of_task(("tools:2",), "3", "model", "helper") == "boss/helper"
    assert sources.of_task(("tools:4",), "5", "look", "boss") == "boss/look"  # metadata is inherited
    assert sources.of_graph(()) == sources.of_tool(()) == "boss"


def test_agent_in_a_node_of_the_same_name_is_named_once() -> None:
    assert GraphSources().of_task(("writer:1",), "2", "model", "writer") == "writer"
    assert GraphSources().of_task(("node:1",), "2", "model", "writer") == "node/writer"


def test_tasks_of_one_node_at_once_are_numbered() -> None:
    sources = GraphSources()
    for task_id in "abc":
        sources.task_started((), task_id, "work", None)
    assert [sources.of_task((), task_id, "work") for task_id in "abc"] == ["work", "work:1", "work:2"]
    assert sources.of_task(("work:b",), "d", "inner") == "work:1/inner"
    assert sources.of_tool(()) == "work"
    sources.task_started((), "b", "work", None)  # again
    assert sources.of_task((), "b", "work") == "work:1"
    sources.task_ended((), "b", "work")
    sources.task_started((), "e", "work", None)
    assert sources.of_task((), "e", "work") == "work:1"
    for task_id in "ace":
        sources.task_ended((), task_id, "work")
    assert not sources._running
    assert not sources._names


def test_tool_of_one_of_several_nodes_has_the_path_of_their_graph() -> None:
    sources = GraphSources()
    sources.task_started(("team:1",), "a", "one", None)
    assert sources.of_tool(("team:1",)) == "team/one"
    sources.task_started(("team:1",), "b", "two", None)
    assert sources.of_tool(("team:1",)) == "team"
