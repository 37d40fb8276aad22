"""`python -m tests.e2e.split`: the command line with `WORKERS` on the memory backend, in a process group.

The supervisor's `FIRST_DELAY`, `LONGEST_DELAY` and `FAILED_STARTS` can be set, too.
"""

import os
import sys

from dockrion import cli
from dockrion.commands import run
from dockrion.server import supervisor

if __name__ == "__main__":
    os.setpgid(0, 0)
    vars(run)["unshared_runs"] = lambda *_, **__: []
    for name in ("FIRST_DELAY", "LONGEST_DELAY", "FAILED_STARTS"):
        if name in os.environ:
            setattr(supervisor, f"_{name}", float(os.environ[name]))
    sys.exit(cli.main([*sys.argv[1:], "--workers", os.environ["WORKERS"]]))
