"""The command line with little patience: `python -m tests.e2e.quick run …`, `GRACE` in the environment."""

import os
import sys
from functools import partial
from typing import Any

from dockrion import cli, execution, server

if __name__ == "__main__":
    served: Any = partial(server.serve, grace=float(os.environ["GRACE"]))
    cli.serve = served
    execution.STOP_SECONDS = 0.5
    sys.exit(cli.main())
