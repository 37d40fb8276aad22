"""AG-UI, the Agent User Interaction Protocol, version 1.0 (https://docs.ag-ui.com/spec/1.0).

`requests` converts what clients send, `encoder` writes a run's events as theirs, `positions` finds the frame
where a reader goes on.

To AG-UI a run ends when it needs an answer, which comes with the next one. So a run of this service is
several of AG-UI, one after the other: each but the last ends with a question of the agent.
"""
