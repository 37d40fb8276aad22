"""Policies on the texts that go into and come out of an agent.

`output_redaction.OutputPolicy` masks and truncates output, `prompt_injection.find_injections` finds
known phrasings in input; `patterns` masks regular expressions in streams, in linear time. `patterns` is
the only module that may import the engine in `regex`.

May import `events` and `json_schema`; knows neither the Dockfile, nor runs, nor HTTP.
"""
