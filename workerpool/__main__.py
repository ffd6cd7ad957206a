"""``python -m workerpool``: the command line."""

import sys

from workerpool.cli import main

if __name__ == "__main__":
    sys.exit(main())
