"""The Model Context Protocol: the agent as a tool that clients call.

`envelope` says in which version a request is, `requests` reads its parameters, `tool` describes the tool.
`encoder` writes the run that is a call as progress notifications and a result, in the forms of `results`;
what the agent asks becomes a form in `elicitation`, in the result or, by `asking`, before it. Sources:
https://modelcontextprotocol.io/specification, versions 2024-11-05 to 2026-07-28. Until 2025-11-25 a client
begins with `initialize`; since 2026-07-28 each request says in its `_meta` what that did.
"""
