"""The load tester: virtual users that load a service, and verify the events that they receive.

`command` is `dockrion load`. It splits the test over processes (`processes`, `worker`), in each of which
users (`users`) start runs and readers (`readers`) read them; `verifier` checks every event. Requests and
parsing are those of `dockrion.client`. Imports also `console`, `events` and `wire`; only the command line
imports this package.
"""
