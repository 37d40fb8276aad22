"""`python -m tests.e2e.quick`: the command line with short timeouts and the grace period `GRACE`."""

import os
import sys
from functools import partial

from dockrion import cli
from dockrion.commands import run
from dockrion.runs import execution, manager
from dockrion.server import process
from dockrion.web import service

if __name__ == "__main__":
    vars(run)["serve"] = partial(process.serve, grace=float(os.environ["GRACE"]))
    execution.STOP_SECONDS = 0.5
    manager._CANCEL_SECONDS = 2.0
    service._STREAM_END_SECONDS = 2.0
    sys.exit(cli.main())
