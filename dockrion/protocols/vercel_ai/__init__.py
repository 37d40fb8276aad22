"""The UI message stream protocol of the Vercel AI SDK, version 1, as its npm package `ai` reads it.

`encoder` writes the events of a run as chunks of a UI message; `requests` converts the UI messages that a
page sends.
"""
