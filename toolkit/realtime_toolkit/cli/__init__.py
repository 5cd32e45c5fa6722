"""The command line: parse → Settings → call the toolkit → print → exit code. Nothing is decided here.

stdout carries the result and nothing else. Exit codes: 0 fine, 1 a bad verdict or finding, 2 usage,
3 cannot connect or bad configuration, 130 and 143 interrupted.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of ``realtime-toolkit``; thin, so that Ctrl-C while the rest is imported is no traceback."""
    try:
        from realtime_toolkit.cli.commands import cli
        from realtime_toolkit.cli.shell import open_streams

        open_streams()
        cli(prog_name="realtime-toolkit")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
