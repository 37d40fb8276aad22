"""Where in a graph an event comes from: the `source` of events, such as `supervisor/researcher`."""

Namespace = tuple[str, ...]  # the tasks, as `node:id`, that lead from the whole graph to a subgraph


class GraphSources:
    """Names the nodes of a graph and of its subgraphs by their paths.

    A named agent of `langchain.agents`, which is a graph, stands for all its nodes.
    """

    def __init__(self) -> None:
        self._agents: dict[Namespace, str] = {}
        self._running: dict[Namespace, dict[str, str]] = {}

    def of_node(self, namespace: Namespace, node: str, agent: str | None = None) -> str:
        """Return the path of a node.

        Args:
            namespace: The graph that it belongs to.
            node: Its name.
            agent: The name of the innermost agent around it, if that is known.
        """
        around = (self._agents.get(namespace[:depth]) for depth in range(len(namespace)))
        if agent is not None and agent not in around:  # otherwise it is not this graph but one around it
            self._agents.setdefault(namespace, agent)
        return _join([*self._names(namespace), self._agents.get(namespace, node)])

    def of_tool(self, namespace: Namespace) -> str | None:
        """Return the path of the node that calls a tool, or that of its graph if several nodes work."""
        nodes = set(self._running.get(namespace, {}).values())
        return self.of_node(namespace, *nodes) if len(nodes) == 1 else self.of_graph(namespace)

    def of_graph(self, namespace: Namespace) -> str | None:
        """Return the path of a graph; None for the whole graph, unless it is a named agent."""
        agent = self._agents.get(namespace)
        return _join([*self._names(namespace), *([agent] if agent else [])]) or None

    def task_started(self, namespace: Namespace, task_id: str, node: str, agent: str | None) -> None:
        self.of_node(namespace, node, agent)
        self._running.setdefault(namespace, {})[task_id] = node

    def task_ended(self, namespace: Namespace, task_id: str, node: str) -> None:
        self._agents.pop((*namespace, f"{node}:{task_id}"), None)
        if running := self._running.get(namespace):
            running.pop(task_id, None)
            if not running:
                del self._running[namespace]

    def _names(self, namespace: Namespace) -> list[str]:
        """Return the names of the agents and nodes around a graph, from the outside in."""
        names = []
        for depth, task in enumerate(namespace):
            node = task.partition(":")[0]
            if not node.isdigit():  # counts the subgraphs that one node has called
                names.append(self._agents.get(namespace[:depth], node))
        return names


def _join(names: list[str]) -> str:
    """Return a path; the node in which an agent of the same name works is not repeated."""
    return "/".join(name for index, name in enumerate(names) if names[index - 1 : index] != [name])
