"""The command line: parse → Settings → call the toolkit → print → exit code. Nothing is decided here.

stdout carries the result and nothing else. Exit codes: 0 fine, 1 a bad verdict or finding, 2 usage,
3 cannot connect or bad configuration, 130 and 143 interrupted.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from dotenv import dotenv_values

from toolkit.errors import InputError, ToolkitError
from toolkit.model import Scope
from toolkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

T = TypeVar("T")
DIRECTORY = click.Path(file_okay=False, path_type=Path)


class ToolkitGroup(click.Group):
    """Every command may raise from the error tree: one line on stderr and the error's own exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ToolkitError as error:
            say(f"error: {error}")
            ctx.exit(error.exit_code)
        except BrokenPipeError:  # `… | head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


class ScopeType(click.ParamType):
    name = "scope"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Scope:
        try:
            return value if isinstance(value, Scope) else Scope.parse(value)
        except InputError as error:
            self.fail(str(error), param, ctx)


def say(line: str) -> None:
    """For people: stderr."""
    click.echo(line, err=True)


def emit(value: Any) -> None:
    """A result as one JSON document (dataclasses included) on stdout."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def emit_line(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":")))
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {key: getattr(value, key) for key in value.__dataclass_fields__}
    if isinstance(value, set | frozenset | tuple):
        return sorted(value, key=str) if not isinstance(value, tuple) else list(value)
    return str(value)


def settings(ctx: click.Context, *, db_url: str | None = None) -> Settings:
    """The settings of this call; ``db_url`` is the option that wins over ``DATABASE_URL``."""
    env = ctx.find_root().obj
    return Settings.from_env({**env, "DATABASE_URL": db_url} if db_url else env)


def run(job: Coroutine[Any, Any, T]) -> T:
    """Run until done; SIGINT and SIGTERM cancel the job, which may clean up, and exit 130 or 143."""
    received: list[int] = []

    async def guarded() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def on_signal(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal, number)
        return await job

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if not received:
            raise
        raise SystemExit(128 + received[0]) from None


json_flag = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
user_option = click.option("--user", metavar="ID", help="Act as this user (a UUID), under RLS.")


@click.group(cls=ToolkitGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="supabase-realtime-toolkit", prog_name="realtime-toolkit")
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".env"),
    show_default=True,
    help="Settings; environment variables win over it.",
)
@click.pass_context
def cli(ctx: click.Context, env_file: Path) -> None:
    """Streamed database changes that arrive through Supabase Realtime, and the proof that they did."""
    if ctx.resilient_parsing:
        return
    from_file = {key: value for key, value in dotenv_values(env_file).items() if value is not None}
    ctx.obj = {**from_file, **os.environ}


# --- write -------------------------------------------------------------------------------------------


@cli.group()
def agent() -> None:
    """Run work that streams into rows."""


@agent.command("run")
@click.option("--conversation", required=True, metavar="ID", help="The conversation to answer in.")
@user_option
@click.option("--create", is_flag=True, help="Make the conversation (for --user) if it is not there.")
@click.option("--mode", type=click.Choice(["chunks", "row"]), default="chunks", show_default=True)
@click.option("--interval", type=click.FloatRange(min=0, max=60), help="Seconds between two writes.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Tokens per second; default: at once.")
@json_flag
@click.argument("file", type=click.File("rb"))
@click.pass_context
def agent_run(
    ctx: click.Context,
    conversation: str,
    user: str | None,
    create: bool,
    mode: str,
    interval: float | None,
    rate: float | None,
    as_json: bool,
    file: Any,
) -> None:
    """Stream the text of FILE (- for stdin) into a conversation, as an agent's answer.

    Ctrl-C stores what was streamed so far and marks the task and its message cancelled.
    """
    from toolkit.agent import stream_text

    scope = Scope.parse(conversation)
    config = settings(ctx)

    async def job() -> Any:
        async with rest_store(config, user) as store:
            if create:
                await store.create_conversation(id=scope.value, user_id=user, title="agent run")
            return await stream_text(store, scope.value, read_tokens(file, rate), mode=mode, interval=interval)

    outcome = run(job())
    if as_json:
        emit(outcome)
    else:
        click.echo(f"{outcome.status}: message {outcome.message_id}, {outcome.length} characters")


# --- read --------------------------------------------------------------------------------------------


@cli.command()
@click.argument("scope", type=ScopeType())
@user_option
@click.option("--cursor", type=click.Path(dir_okay=False, path_type=Path), help="Come back from here, store here.")
@click.option("--for", "seconds", type=click.FloatRange(min=0), help="Stop after so many seconds.")
@json_flag
@click.pass_context
def listen(
    ctx: click.Context, scope: Scope, user: str | None, cursor: Path | None, seconds: float | None, as_json: bool
) -> None:
    """Follow SCOPE (kind:value, or a conversation's UUID) and print what happens, a line each."""
