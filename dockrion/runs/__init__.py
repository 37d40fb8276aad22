"""The engine: runs and invocations of one agent, from their admission to their stored outcome.

`manager.RunManager` is the way in; `ingest.Ingest` adds events that other processes push. Agents implement
`agent.Agent`, emit through a run's `session`, or its `context` in agent code, and return what `outcome`
defines. `tracing` is what whoever follows runs in traces is told. Imports `backends`, `events`,
`json_schema`, `logs`, `metrics` and `policies`, and knows neither HTTP nor the Dockfile.
"""
