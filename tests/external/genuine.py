"""``python -m tests.external.genuine CMD…``: CMD with the nearest thing to a genuine project in its environment.

A stack in a process of its own, with the genuine server's delays and its default limits (100 changes a second on
average over a minute, what is above them dropped without a word), where ``postgres`` has just the rights it has on
hosted Supabase, and no migration has been applied. Its warnings go to stderr: a penalty is one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from realtime_toolkit.stack import LocalStack


async def main(command: list[str]) -> int:
    async with LocalStack(pace="genuine", superuser=False) as stack:
        running = await asyncio.create_subprocess_exec(*command, env={**os.environ, **stack.env()})
        try:
            return await running.wait()
        finally:
            if running.returncode is None:
                running.terminate()
                await running.wait()


if __name__ == "__main__":
    logging.basicConfig(format="the project: %(name)s: %(message)s")
    sys.exit(asyncio.run(main(sys.argv[1:])))
