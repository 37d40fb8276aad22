"""`python -m tests.e2e.split`: the command line with `WORKERS` on the memory backend, in a process group."""

import os
import sys

from dockrion import cli

if __name__ == "__main__":
    os.setpgid(0, 0)
    vars(cli)["_unshared_runs"] = lambda *_: []
    sys.exit(cli.main([*sys.argv[1:], "--workers", os.environ["WORKERS"]]))
