"""`python -m dockrion`, the same as `dockrion`."""

import sys

from dockrion.cli import main

if __name__ == "__main__":
    sys.exit(main())
