"""All commands, joined to one."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from realtime_toolkit.cli.demo import bench, demo
from realtime_toolkit.cli.schema import init, migrate, verify
from realtime_toolkit.cli.shell import FILE, ToolkitGroup, load_env, log_to_stderr
from realtime_toolkit.cli.stack import stack
from realtime_toolkit.cli.stream import agent, listen, reconcile
from realtime_toolkit.errors import ConfigError


@click.group(cls=ToolkitGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="supabase-realtime-toolkit", prog_name="realtime-toolkit")
@click.option(
    "--env-file",
    type=FILE,
    default=Path(".env"),
    show_default=True,
    help="Settings; environment variables win over it.",
)
@click.pass_context
def cli(ctx: click.Context, env_file: Path) -> None:
    """Streamed database changes that arrive through Supabase Realtime, and the proof that they did."""
    log_to_stderr()
    named = ctx.get_parameter_source("env_file") is not ParameterSource.DEFAULT
    if named and not env_file.exists():
        raise ConfigError(f"no such file: {env_file}")
    ctx.obj = load_env(env_file)


for command in (stack, init, migrate, verify, agent, listen, reconcile, demo, bench):
    cli.add_command(command)
