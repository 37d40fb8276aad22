"""`python -m tests.e2e.attentive`: the command line, which soon notices that another process died.

What it waits for at its end beyond the grace period is short, too.
"""

import sys

from dockrion import cli
from dockrion.backends.redis import background, leases, reaper, watchdog
from dockrion.web import service

if __name__ == "__main__":
    for module in (leases, reaper, background):
        vars(module)["BEAT_SECONDS"] = 0.5  # five of which a process on a busy machine does not miss
    watchdog.CHECK_SECONDS = 0.1
    service._STREAM_END_SECONDS = 0.1
    sys.exit(cli.main())
