"""Run the command `gigaexec` as `python -m gigaexec`."""

import sys

from gigaexec.cli import main

if __name__ == "__main__":
    sys.exit(main())
