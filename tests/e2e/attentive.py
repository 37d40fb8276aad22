"""`python -m tests.e2e.attentive`: the command line, which soon notices that another process died."""

import sys

from dockrion import cli
from dockrion.backends.redis import background, leases, reaper, watchdog

if __name__ == "__main__":
    for module in (leases, reaper, background):
        vars(module)["BEAT_SECONDS"] = 0.2
    watchdog.CHECK_SECONDS = 0.1
    sys.exit(cli.main())
