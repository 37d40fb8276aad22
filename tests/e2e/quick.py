"""The command line with little patience: `python -m tests.e2e.quick run …`, `GRACE` in the environment."""

import os
import sys
from functools import partial

from dockrion import cli, execution, runs
from dockrion.web import server, service

if __name__ == "__main__":
    vars(cli)["serve"] = partial(server.serve, grace=float(os.environ["GRACE"]))
    execution.STOP_SECONDS = 0.5
    runs._CANCEL_SECONDS = 2.0
    service._STREAM_END_SECONDS = 2.0
    sys.exit(cli.main())
