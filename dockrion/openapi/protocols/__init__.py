"""Descriptions of the endpoints of other protocols; a module is imported only if its protocol is served.

Each protocol has a module named after it with the function `operations`. `json_rpc` is what those of MCP and
A2A have in common, `openai_common` what those of OpenAI's two APIs have.
"""
