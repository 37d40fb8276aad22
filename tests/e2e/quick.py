"""The command line with little patience: `python -m tests.e2e.quick run …`, `GRACE` in the environment."""

import os
import sys
from functools import partial

from dockrion import cli, execution
from dockrion.web import server

if __name__ == "__main__":
    vars(cli)["serve"] = partial(server.serve, grace=float(os.environ["GRACE"]))
    execution.STOP_SECONDS = 0.5
    sys.exit(cli.main())
