"""`python -m tests.e2e.patient`: the command line, which ends late if it waits for anything at its end."""

import sys

from dockrion import cli
from dockrion.runs import execution, manager
from dockrion.server import process
from dockrion.web import service

if __name__ == "__main__":
    for module in (execution, manager, service):
        vars(module)["STOP_SECONDS"] = 600.0
    service._STREAM_END_SECONDS = 600.0
    process._CONNECTIONS_END_SECONDS = 600.0
    sys.exit(cli.main())
