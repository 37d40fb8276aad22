"""Where in a graph an event comes from: the `source` of events, such as `supervisor/researcher`."""

Namespace = tuple[str, ...]  # the tasks, as `node:id`, that lead from the whole graph to a subgraph


class GraphSources:
    """Names the tasks of a graph and of its subgraphs by their paths.

    A task has the name of its node; where a node works several times at once, the others are numbered:
    `summarize`, `summarize:1`. A named agent of `langchain.agents`, which is a graph, stands for all its
    nodes.
    """

    def __init__(self) -> None:
        self._agents: dict[Namespace, str] = {}
        self._running: dict[Namespace, dict[str, str]] = {}  # the node of each task
        self._names: dict[str, str] = {}  # of tasks

    def of_task(self, namespace: Namespace, task_id: str, node: str, agent: str | None = None) -> str:
        """Return the path of a task.

        Args:
            namespace: The graph that it belongs to.
            task_id: Its id.
            node: Its node.
            agent: The name of the innermost agent around it, if that is known.
        """
        around = (self._agents.get(namespace[:depth]) for depth in range(len(namespace)))
        if agent is not None and agent not in around:  # otherwise it is not this graph but one around it
            self._agents.setdefault(namespace, agent)
        name = self._agents.get(namespace) or self._names.get(task_id, node)
        return _join([*self._path(namespace), name])

    def of_tool(self, namespace: Namespace) -> str | None:
        """Return the path of the node that calls a tool, or that of its graph if several nodes work."""
        running = self._running.get(namespace, {})
        if namespace in self._agents or len(nodes := set(running.values())) != 1:
            return self.of_graph(namespace)
        task_id = next(iter(running)) if len(running) == 1 else ""
        return self.of_task(namespace, task_id, *nodes)

    def of_graph(self, namespace: Namespace) -> str | None:
        """Return the path of a graph; None for the whole graph, unless it is a named agent."""
        agent = self._agents.get(namespace)
        return _join([*self._path(namespace), *([agent] if agent else [])]) or None

    def task_started(self, namespace: Namespace, task_id: str, node: str, agent: str | None) -> None:
        running = self._running.setdefault(namespace, {})
        taken = {self._names[other] for other in running if other != task_id}  # it may be a retry
        name, number = node, 0
        while name in taken:
            number += 1
            name = f"{node}:{number}"
        running[task_id], self._names[task_id] = node, name
        self.of_task(namespace, task_id, node, agent)

    def task_ended(self, namespace: Namespace, task_id: str, node: str) -> None:
        self._agents.pop((*namespace, f"{node}:{task_id}"), None)
        self._names.pop(task_id, None)
        if running := self._running.get(namespace):
            running.pop(task_id, None)
            if not running:
                del self._running[namespace]

    def _path(self, namespace: Namespace) -> list[str]:
        """Return the names of the agents and tasks around a graph, from the outside in."""
        path = []
        for depth, task in enumerate(namespace):
            node, _, task_id = task.partition(":")
            if not node.isdigit():  # counts the subgraphs that one node has called
                path.append(self._agents.get(namespace[:depth]) or self._names.get(task_id, node))
        return path


def _join(names: list[str]) -> str:
    """Return a path; the node in which an agent of the same name works is not repeated."""
    return "/".join(name for index, name in enumerate(names) if names[index - 1 : index] != [name])
