"""What every command shares: settings, output, errors to exit codes, signals."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from dotenv import dotenv_values

from realtime_toolkit.errors import ConfigError, InputError, ToolkitError
from realtime_toolkit.model import Scope
from realtime_toolkit.settings import Settings
from realtime_toolkit.shown import shown_json, shown_lines, shown_once, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


class ToolkitGroup(click.Group):
    """Whatever ends a command, from the error tree, the system or a signal, becomes one line on stderr and an exit code."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _one_line():  # --help is printed in here
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line(), _terminated_like_interrupted():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except ToolkitError as error:
        _complain(f"error: {without_secrets(str(error))}")
        code = error.exit_code
    except BrokenPipeError:  # `… | head` has seen enough
        _drop_stdout()
        code = 0
    except OSError as error:  # a file or folder that cannot be read or written, a full disk
        _drop_stdout()
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"error: {place}{error.strerror or error}")
        code = ConfigError.exit_code
    except KeyboardInterrupt as interrupt:  # whoever was at work has rolled back on its way here
        _complain("interrupted")
        code = 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    else:
        return
    raise click.exceptions.Exit(code)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM is a Ctrl-C with another number: statements are cancelled, transactions rolled back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _complain(line: str) -> None:
    """What stderr cannot take either shows in the exit code alone."""
    with suppress(OSError):
        say(line)


def _drop_stdout() -> None:
    """What could not be written is not tried again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_streams() -> None:
    """Put /dev/null where a standard stream was closed: the next socket would get its number.

    What goes to a file or a pipe is UTF-8, as reports say of themselves; no stream fails for a character.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - as long as the program
        elif mode == "w" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def as_scope(text: str) -> Scope:
    """A parameter's type: ``kind:value``, or a bare UUID for a conversation."""
    try:
        return Scope.parse(text)
    except InputError as error:
        raise click.BadParameter(str(error)) from None


def say(line: str) -> None:
    """For people: stderr, one line."""
    click.echo(shown_once(line), err=True)


def emit(value: Any) -> None:
    """A result as one line of JSON on stdout, flushed: whoever reads it may be waiting."""
    click.echo(shown_json(json.dumps(value, default=_plain, ensure_ascii=False)))
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    """A fraction is a number where JSON's readers get it back exactly, else text."""
    if isinstance(value, Decimal) and Decimal(repr(float(value))) == value:
        return float(value)
    return str(value)


class _Shown(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown_lines(super().format(record))


def log_to_stderr() -> None:
    """Warnings, and the news of what takes long: the stack's downloads."""
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Shown())
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of, we raise
    for name in ("packages", "postgres.binaries"):
        logging.getLogger(f"realtime_toolkit.stack.{name}").setLevel(logging.INFO)


def quiet() -> None:
    """For commands whose own output already tells what the log would."""
    logging.getLogger("realtime_toolkit").setLevel(logging.CRITICAL)


def load_env(env_file: Path) -> dict[str, str]:
    """``env_file`` below the real environment; raises :class:`ConfigError` where it is not UTF-8 text."""
    try:
        from_file = {key: value for key, value in dotenv_values(env_file).items() if value is not None}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{env_file} is not UTF-8 text (about byte {error.start})") from None
    return {**from_file, **os.environ}


def settings(ctx: click.Context, *, db_url: str | None = None) -> Settings:
    """The settings of this call; ``db_url`` is the option that wins over ``DATABASE_URL``."""
    env: dict[str, str] = ctx.find_root().obj
    return Settings.from_env({**env, "DATABASE_URL": db_url} if db_url else env)


def run(job: Coroutine[Any, Any, T], *, on_signal: int | None = None) -> T:
    """Run a job to its end; SIGINT and SIGTERM cancel it, and it may clean up.

    Exits with 128 + the signal's number then, or with ``on_signal`` (0 where a signal is the normal end).
    A second signal is not waited for.
    """
    received: list[int] = []

    async def guarded() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel(number: int) -> None:
            received.append(number)
            loop.remove_signal_handler(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, cancel, number)
        return await job

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if not received:
            raise
    raise SystemExit(128 + received[0] if on_signal is None else on_signal)


def option(*names: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*names, **attributes)


json_flag = option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
user_option = option("--user", metavar="ID", help="Act as this user (a UUID), under RLS.")
db_url_option = option("--db-url", metavar="URL", help="Wins over DATABASE_URL.")
