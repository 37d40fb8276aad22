"""The Agent2Agent protocol: a run as a task that another agent has given to this one.

`card` introduces the agent, `requests` reads the parameters of methods. `updates` says what each event of a
run is to its task; `encoder` writes that as a stream, or collects the task, with the objects of `objects`.
`push` makes a webhook of a push notification. Sources of the rules: https://a2a-protocol.org, the
specifications 1.0 and 0.3, which differ in the names of methods and in how the same objects are written.
"""
