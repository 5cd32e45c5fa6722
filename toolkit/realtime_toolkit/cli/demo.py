"""``demo`` and ``bench``: the main job shown, and the targets measured."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

import click

from realtime_toolkit.cli.schema import migrations_here
from realtime_toolkit.cli.shell import emit, json_flag, option, quiet, run, say
from realtime_toolkit.errors import ConfigError, InputError

if TYPE_CHECKING:
    from typing import BinaryIO

    from realtime_toolkit.demo import Result


@click.command()
@option("--input", "file", type=click.File("rb"), help="Stream this text rather than the built-in one.")
@option("--seed", type=int, default=1, show_default=True, help="Of the network's mischief.")
@json_flag
@click.pass_context
def demo(ctx: click.Context, file: BinaryIO | None, seed: int, as_json: bool) -> None:
    """The main job in five scenarios on an ephemeral stack, each proven by reconciliation.

    \b
    1 normal           send, and receive the streamed answer live
    2 disconnect       the network is gone for the middle third of the answer
    3 several devices  two devices are complete, a stranger receives nothing
    4 long task        close the client, come back later from a stored cursor
    5 network jitter   the connection is cut at random ten times
    """
    from realtime_toolkit.demo import ANSWER, as_json_object, as_table, run_demo
    from realtime_toolkit.stack import LocalStack

    quiet()
    text = ANSWER if file is None else whole_text(file)
    progress = Progress()

    async def job() -> list[Result]:
        begun = time.monotonic()
        async with LocalStack(migrations=migrations_here(None), seed=seed) as stack:
            say(f"stack ready after {time.monotonic() - begun:.1f} s: {stack.url}")
            results = []
            async for result in run_demo(stack, text, seed=seed, progress=progress):
                progress.done(result.name)
                results.append(result)
            return results

    results = run(job())
    if as_json:
        emit(as_json_object(results))
    else:
        click.echo(as_table(results))
    ctx.exit(0 if all(result.ok for result in results) else 1)


def whole_text(file: BinaryIO) -> str:
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file.name} is not UTF-8 text (about byte {error.start})") from None
    if not text.strip():
        raise InputError(f"{file.name} has no text to stream")
    return text


class Progress:
    """How far the present scenario is: a line that is rewritten on a terminal, a line an end elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ""

    def __call__(self, name: str, fraction: float) -> None:
        line = f"{name:16} {'█' * int(fraction * 30):30} {fraction:4.0%}"
        if self._live and line != self._shown:
            self._shown = line
            click.echo(f"\r{line}", err=True, nl=False)

    def done(self, name: str) -> None:
        if self._live:
            click.echo("\r" + " " * len(self._shown) + "\r", err=True, nl=False)
        else:
            say(f"{name}: done")


@click.group()
def bench() -> None:
    """Measure, side by side in one run; the result is JSON."""


def _measure(ctx: click.Context, name: str) -> None:
    """Run ``run_<name>_bench``; exits 1 where a target is missed."""
    try:
        module = import_module(f"realtime_toolkit.bench.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"a bench needs {error.name!r}: pip install 'supabase-realtime-toolkit[stack]'"
        ) from None
    quiet()
    report = getattr(module, f"run_{name}_bench")(say)
    emit(report)
    ctx.exit(0 if all(report["met"].values()) else 1)


@bench.command("stack")
@click.pass_context
def bench_stack(ctx: click.Context) -> None:
    """Start, memory, latency and throughput of the local stack, beside their targets."""
    _measure(ctx, "stack")


@bench.command("migrate")
@click.pass_context
def bench_migrate(ctx: click.Context) -> None:
    """The splitter, what a plan costs beside its run, and a large file of inserts."""
    _measure(ctx, "migrate")


@bench.command("verify")
@click.pass_context
def bench_verify(ctx: click.Context) -> None:
    """``verify`` on 200 tables and on our own schema, beside the targets."""
    _measure(ctx, "verify")


@bench.command("listen")
@click.pass_context
def bench_listen(ctx: click.Context) -> None:
    """What following costs, beside the stock client: CPU, changes a second, memory."""
    _measure(ctx, "listen")


@bench.command("truth")
@click.pass_context
def bench_truth(ctx: click.Context) -> None:
    """How long a listener says ``synced`` while it is behind, whatever the server does not tell."""
    _measure(ctx, "truth")
