"""Every operation that a service may have."""

from dockrion.dockfile import Dockfile
from dockrion.openapi import operations_invoke, operations_runs, operations_service, run_events
from dockrion.openapi.operation import Operation


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations of a service, by method and path."""
    groups = (operations_service, operations_invoke, operations_runs, run_events)
    return {name: operation for group in groups for name, operation in group.operations(dockfile).items()}
