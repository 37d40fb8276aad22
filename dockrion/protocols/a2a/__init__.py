"""The Agent2Agent protocol: a run as a task that another agent has given to this one.

Sources of its rules: https://a2a-protocol.org, the specifications 1.0 and 0.3, which differ in the names of
methods and in how the same objects are written.
"""
