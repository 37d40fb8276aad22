"""The kinds of agents: what implements `runs.agent.Agent`.

`loading.load_agent` creates the one that the Dockfile names: a Python function (`handler`), a LangGraph
graph (`langgraph`), a LangChain runnable (`langchain`) or a server that is invoked over HTTP (`remote`),
in one of the protocols in `servers`. `external` has the agent of runs whose events other processes push,
`id_generator` the custom generator of run ids.

May import `runs`, `events`, `wire`, `dockfile`, `http_client`, `json_schema` and `logs`; never `web`.
"""
