"""`python -m tests.e2e.quick`: the command line with short timeouts."""

import sys

from dockrion import cli
from dockrion.runs import execution, manager
from dockrion.web import service

if __name__ == "__main__":
    execution.STOP_SECONDS = 0.5
    manager._CANCEL_SECONDS = 1.0
    service._STREAM_END_SECONDS = 2.0
    sys.exit(cli.main())
