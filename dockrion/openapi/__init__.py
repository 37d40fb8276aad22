"""The API description: OpenAPI of the endpoints and AsyncAPI of the event streams, built from a Dockfile.

`document.openapi` and `asyncapi.asyncapi` build the documents. An endpoint is described in
`operations_invoke` (`/invoke…`), `operations_runs` (`/runs…`) or `operations_service` (all others), an error
in `error_responses`, a body in `schemas`, the agent's input and output in `agent_schemas`. `web` imports the
documents, `models` (its response bodies) and `endpoint`. May import: auth, backends, dockfile, events,
protocols, runs, webhooks and wire, for the names, limits and structs it describes.
"""
