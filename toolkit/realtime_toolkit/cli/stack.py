"""``stack``: the local Supabase, in the foreground or around one command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from realtime_toolkit.cli.schema import migrations_here
from realtime_toolkit.cli.shell import DIRECTORY, emit, json_flag, option, run, say, settings
from realtime_toolkit.errors import InputError, StackError, Unauthorized, Unreachable
from realtime_toolkit.tasks import end, spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realtime_toolkit.stack import LocalStack


def stack_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in (
        option("--postgres", "--postgres-version", "postgres", metavar="VERSION|container|URL",
               help="15 to 18, an image in a container (TOOLKIT_POSTGRES_IMAGE), or a server that is there; default: "
               "TOOLKIT_POSTGRES, else the version that made the data directory, else 17."),
        option("--migrations", type=DIRECTORY, help="Applied at the start; default: supabase/migrations here, else ours."),
        option("--pace", type=click.Choice(["fast", "genuine"]), default="fast", show_default=True,
               help="genuine: with the hosted server's own delays."),
        option("--seed", type=int, default=0, show_default=True, help="Of the faults: same seed, same schedule."),
        option("--fault", "faults", metavar="NAME[:ARG]", multiple=True,
               help="Inject it at random moments; may be given again. `stack faults` lists them."),
        option("--allow-host", "hosts", metavar="NAME", multiple=True,
               help="Answer under this host name, too (a tunnel's, a proxy's); may be given again."),
        option("--every", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True,
               help="Seconds between two faults, on average."),
    ):  # fmt: skip
        command = decorate(command)
    return command


@contextlib.asynccontextmanager
async def started(
    migrations: Path | None, faults: tuple[str, ...], every: float, **options: Any
) -> AsyncIterator[LocalStack]:
    """A stack as the options say, with its programme of faults."""
    from realtime_toolkit.stack import LocalStack
    from realtime_toolkit.stack.realtime.faults import parse

    for fault in faults:
        parse(fault)  # says what is wrong before anything starts
    made = LocalStack(migrations=migrations_here(migrations), **options)
    async with made as stack:
        trouble = []
        if faults:
            work = _make_trouble(stack, faults, every)
            trouble.append(spawn(work, "programme of faults", _trouble_ended))
        try:
            yield stack
        finally:
            await end(trouble)


def _trouble_ended(error: BaseException | None) -> None:
    if isinstance(error, Exception):
        say(f"error: there are no more faults: {error}")


async def _make_trouble(stack: LocalStack, faults: tuple[str, ...], every: float) -> None:
    from realtime_toolkit.stack.realtime.faults import schedule

    begun = asyncio.get_running_loop().time()
    for planned in schedule(stack.faults.seed, 86_400, every, faults):
        await asyncio.sleep(begun + planned.at - asyncio.get_running_loop().time())
        stack.faults.inject(planned.fault.name, planned.fault.argument)


@click.group()
def stack() -> None:
    """A local Supabase: real Postgres, real PostgREST, a faithful Realtime server, and Auth."""


@stack.command()
@option("--port", type=click.IntRange(0, 65535), default=54321, show_default=True, help="0 takes a free one.")
@option("--data-dir", type=DIRECTORY, help="Keep database and keys here; default: throw them away.")
@stack_options
def up(port: int, data_dir: Path | None, **options: Any) -> None:
    """Run in the foreground until Ctrl-C; ``stack env`` in another terminal prints how to connect."""
    from realtime_toolkit.stack.postgres.external import server_version, shown

    async def job() -> None:
        async with started(port=port, data_dir=data_dir, publish=True, **options) as running:
            version = await server_version(running.admin_url)
            where = f"Postgres {version} at {shown(running.database_url)}"
            say(f"ready: {running.url}  ({where}, `stack env` has the password)")
            say("settings for other terminals: realtime-toolkit stack env > .env   stop with Ctrl-C")
            await running.wait_failed()

    run(job(), on_signal=0)


@stack.command()
@json_flag
def env(as_json: bool) -> None:
    """Print the running stack's settings, as lines for .env."""
    from realtime_toolkit.stack import running_stack

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


@stack.command()
@json_flag
def faults(as_json: bool) -> None:
    """List the faults that can be injected, and what each does."""
    from realtime_toolkit.stack.realtime.faults import KINDS

    for kind in KINDS:
        if as_json:
            emit({"name": kind.name, "alias": kind.alias, "argument": kind.argument, "effect": kind.effect})
        else:
            default = (
                ""
                if kind.argument is None
                else f":{kind.argument:g}"
                if isinstance(kind.argument, float)
                else f":{kind.argument}"
            )
            click.echo(f"{kind.alias:4}{kind.name + default:26} {kind.effect}")


@stack.command()
@click.argument("name", metavar="NAME[:ARG]")
@option(
    "--count", type=click.IntRange(min=0), default=1, show_default=True, help="How often; 0: from now on."
)
@option(
    "--rate",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Probability at each opportunity.",
)
@click.pass_context
def fault(ctx: click.Context, name: str, count: int, rate: float) -> None:
    """Inject a fault into the running stack (SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY)."""
    import httpx

    config = settings(ctx)
    url, key = config.require("url"), config.require("service_role_key")
    asked = {"fault": name, "count": count or None, "rate": rate}
    try:
        answer = httpx.post(f"{url}/toolkit/v1/faults", headers={"apikey": key}, json=asked)
    except httpx.HTTPError as error:
        raise Unreachable(f"{url}: {error}") from None
    if answer.status_code == 422:
        raise InputError(str(answer.json()["message"]))
    if answer.status_code != 200:
        raise Unauthorized(f"{url} is no local stack, or this is not its key (HTTP {answer.status_code})")
    emit(answer.json())


@stack.command("run", context_settings={"ignore_unknown_options": True})
@stack_options
@click.argument("cmd", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@click.pass_context
def run_command(ctx: click.Context, /, cmd: tuple[str, ...], **options: Any) -> None:
    """Run CMD with an ephemeral, migrated stack in its environment; exits with CMD's exit code."""

    async def job() -> int:
        async with started(**options) as running:
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
