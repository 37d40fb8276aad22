"""The Model Context Protocol: the agent as a tool that clients call.

Sources of its rules: https://modelcontextprotocol.io/specification, versions 2024-11-05 to 2026-07-28. Until
2025-11-25 a client begins with `initialize`; since 2026-07-28 each request says in its `_meta` what that did.
"""
