"""Run the command line from a checkout: ``python cli.py …`` is ``realtime-toolkit …``."""

from toolkit.cli import main

if __name__ == "__main__":
    main()
