"""``stack``: the local Supabase, in the foreground or around one command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolkit.cli.schema import migrations_here
from toolkit.cli.shell import DIRECTORY, emit, json_flag, option, run, say, settings
from toolkit.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from toolkit.stack import LocalStack


def stack_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in (
        option("--postgres-version", type=click.Choice(["16", "18"]), default="16", show_default=True),
        option("--migrations", type=DIRECTORY, help="Applied at the start; default: supabase/migrations here, else ours."),
        option("--pace", type=click.Choice(["fast", "genuine"]), default="fast", show_default=True,
               help="genuine: with the hosted server's own delays."),
        option("--seed", type=int, default=0, show_default=True, help="Of the faults."),
    ):  # fmt: skip
        command = decorate(command)
    return command


def make_stack(postgres_version: str, migrations: Path | None, **options: Any) -> LocalStack:
    from toolkit.stack import LocalStack

    return LocalStack(version=int(postgres_version), migrations=migrations_here(migrations), **options)


@click.group()
def stack() -> None:
    """A local Supabase: real Postgres, real PostgREST, a faithful Realtime server, and Auth."""


@stack.command()
@option("--port", type=click.IntRange(0, 65535), default=54321, show_default=True, help="0 takes a free one.")
@option("--data-dir", type=DIRECTORY, help="Keep database and keys here; default: throw them away.")
@stack_options
def up(port: int, data_dir: Path | None, **options: Any) -> None:
    """Run in the foreground until Ctrl-C; ``stack env`` in another terminal prints how to connect."""

    async def job() -> None:
        async with make_stack(port=port, data_dir=data_dir, publish=True, **options) as running:
            say(f"ready: {running.url}  (database {running.database_url})")
            say("settings for other terminals: realtime-toolkit stack env > .env   stop with Ctrl-C")
            await running.wait_failed()

    run(job(), on_signal=0)


@stack.command()
@json_flag
def env(as_json: bool) -> None:
    """Print the running stack's settings, as lines for .env."""
    from toolkit.stack import running_stack

    found = running_stack()
    if found is None:
        raise StackError("no stack is running; start one: realtime-toolkit stack up")
    if as_json:
        emit(found)
    else:
        for name, value in found.items():
            click.echo(f"{name}={value}")


@stack.command()
@option("--user", metavar="ID", required=True, help="The user's id (a UUID).")
@option("--expires-in", type=int, default=3600, show_default=True, help="Seconds.")
@click.pass_context
def token(ctx: click.Context, user: str, expires_in: int) -> None:
    """Sign a token of role authenticated for a user; it need not have signed up."""
    click.echo(settings(ctx).token_for(user, expires_in=expires_in))


@stack.command("run", context_settings={"ignore_unknown_options": True})
@stack_options
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@click.pass_context
def run_command(ctx: click.Context, /, cmd: tuple[str, ...], **options: Any) -> None:
    """Run CMD with an ephemeral, migrated stack in its environment; exits with CMD's exit code."""

    async def job() -> int:
        async with make_stack(**options) as running:
            return await _run_child(cmd, running)

    ctx.exit(run(job()))


async def _run_child(cmd: tuple[str, ...], stack: LocalStack) -> int:
    """Runs to its end, or to that of the stack; a signal to us is passed on and its end awaited."""
    try:
        child = await asyncio.create_subprocess_exec(*cmd, env={**os.environ, **stack.env()})
    except OSError as error:
        say(f"error: cannot run {cmd[0]}: {error.strerror}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    loop = asyncio.get_running_loop()
    # A terminal sends Ctrl-C to the whole process group, so the child has it already.
    loop.add_signal_handler(
        signal.SIGINT, lambda: None if sys.stdin.isatty() else _pass_on(child, signal.SIGINT)
    )
    loop.add_signal_handler(signal.SIGTERM, _pass_on, child, signal.SIGTERM)
    ended, failed = asyncio.create_task(child.wait()), asyncio.create_task(stack.wait_failed())
    try:
        await asyncio.wait({ended, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        code = ended.result()
    finally:
        failed.cancel()
        if not ended.done():
            child.kill()
            await ended
    return code if code >= 0 else 128 - code


def _pass_on(child: asyncio.subprocess.Process, number: int) -> None:
    if child.returncode is None:
        child.send_signal(number)
