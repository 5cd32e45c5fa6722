"""``python -m tests.external.genuine CMD…``: CMD with the nearest thing to a genuine project in its environment.

A stack in a process of its own, with the genuine server's delays and its default limits (100 changes a second on
average over a minute, what is above them dropped without a word), where ``postgres`` has just the rights it has on
hosted Supabase, no fault can be injected, and no migration has been applied. When changes are dropped, stderr says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from starlette.applications import Starlette

from realtime_toolkit.stack import LocalStack

DROPPING = "MessagePerSecondRateLimitReached"


async def main(command: list[str]) -> int:
    async with LocalStack(pace="genuine", superuser=False) as stack:
        running = await asyncio.create_subprocess_exec(*command, env={**os.environ, **stack.env()})
        try:
            return await running.wait()
        finally:
            if running.returncode is None:
                running.terminate()
                await running.wait()


def say_when_changes_are_dropped() -> None:
    said = logging.StreamHandler()
    said.addFilter(lambda record: DROPPING in record.getMessage())
    logging.basicConfig(handlers=[said], format="\nthe project: %(message)s")


if __name__ == "__main__":
    vars(sys.modules[LocalStack.__module__])["admin_app"] = lambda *_: Starlette()  # only a stack has it
    say_when_changes_are_dropped()
    sys.exit(asyncio.run(main(sys.argv[1:])))
