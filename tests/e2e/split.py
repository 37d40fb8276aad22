"""The command line with `WORKERS` that share no runs, in a group of its own: `python -m tests.e2e.split`."""

import os
import sys

from dockrion import cli

if __name__ == "__main__":
    os.setpgid(0, 0)
    vars(cli)["_refuse_split"] = lambda *_: None
    sys.exit(cli.main([*sys.argv[1:], "--workers", os.environ["WORKERS"]]))
