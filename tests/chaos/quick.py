"""`python -m tests.chaos.quick`: the command line with shorter times between heartbeats and retries."""

import sys

from dockrion import cli
from dockrion.backends.redis import background, leases, queue, reaper

PACE = 0.25

if __name__ == "__main__":
    for module in (background, leases, reaper):
        vars(module)["BEAT_SECONDS"] *= PACE
    queue._FIRST_DELAY_SECONDS *= PACE
    queue._LONGEST_DELAY_SECONDS *= PACE
    queue._LATE_SECONDS *= PACE
    sys.exit(cli.main())
