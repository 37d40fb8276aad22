"""How a command reports that it cannot start."""

import sys
import traceback

from dockrion.dockfile import DockfileError
from dockrion.errors import StartError
from dockrion.redaction import Redactor


def print_error(error: StartError, redactor: Redactor, *, verbose: bool) -> int:
    """Print an error, and return the exit code."""
    for warning in error.warnings if isinstance(error, DockfileError) else ():
        print(f"warning: {warning}", file=sys.stderr)
    print(redactor.mask(str(error)), file=sys.stderr)
    if verbose:
        print(redactor.mask("".join(traceback.format_exception(error))), file=sys.stderr)
    return 1
