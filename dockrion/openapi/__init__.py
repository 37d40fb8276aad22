"""The API, described: OpenAPI and AsyncAPI documents from what serves the requests."""
