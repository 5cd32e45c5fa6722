"""Run the command line from a checkout: ``python cli.py …`` is ``realtime-toolkit …``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "toolkit"))

from realtime_toolkit.cli import main

if __name__ == "__main__":
    main()
