"""``init``, ``migrate`` and ``verify``: the schema, and what it lets whom do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from realtime_toolkit.cli.shell import (
    DIRECTORY,
    FILE,
    db_url_option,
    emit,
    json_flag,
    option,
    run,
    say,
    settings,
)
from realtime_toolkit.errors import InputError
from realtime_toolkit.shown import shown, shown_lines, shown_once


def migrations_here(directory: Path | None) -> Path:
    """The directory that was named, else the project's own, else the toolkit's."""
    from realtime_toolkit.migrate import packaged_migrations

    if directory is not None:
        if not directory.is_dir():
            raise InputError(f"no such directory: {directory}")
        return directory
    here = Path("supabase/migrations")
    return here if here.is_dir() else packaged_migrations()


dir_option = option(
    "--dir",
    "directory",
    type=DIRECTORY,
    help="Migrations; default: supabase/migrations here, else the toolkit's own.",
)
wait_option = option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds for another run's lock.",
)


def show(result: Any, as_json: bool, lines: list[str], summary: str) -> None:
    if as_json:
        emit(result.as_dict())
        return
    for line in lines:
        click.echo(shown_once(line))
    say(summary)


@click.command()
@click.argument("directory", type=DIRECTORY, default=Path())
@json_flag
@click.pass_context
def init(ctx: click.Context, directory: Path, as_json: bool) -> None:
    """Copy the toolkit's migrations into DIRECTORY/supabase/migrations, overwriting nothing."""
    from realtime_toolkit import migrate

    made = migrate.init(directory)
    lines = [
        f"{f.state:13} {f.file}" + (f" (there is {f.existing})" if f.existing else "") for f in made.files
    ]
    told = "ready; next: realtime-toolkit migrate up" if made.ok else "what differs was left as it is"
    show(made, as_json, lines, f"{made.directory}: {told}")
    ctx.exit(0 if made.ok else 1)


@click.group()
def migrate() -> None:
    """Apply migrations; the history is shared with the Supabase CLI."""


@migrate.command()
@db_url_option
@dir_option
@wait_option
@option("--target", metavar="VERSION", help="The last version to apply.")
@option("--include-all", is_flag=True, help="Also files older than the newest applied one.")
@json_flag
@click.pass_context
def up(
    ctx: click.Context, /, db_url: str | None, directory: Path | None, as_json: bool, **options: Any
) -> None:
    """Apply what is pending, each file in one transaction with its history row."""
    from realtime_toolkit import migrate

    dsn = settings(ctx, db_url=db_url).require("database_url")
    done = migrate.up(dsn, migrations_here(directory), notice=say, **options)
    told = f"{len(done.applied)} applied, {done.already} were there already ({done.seconds:.1f} s)"
    show(done, as_json, [f"applied {name}" for name in done.applied], told)


@migrate.command()
@db_url_option
@dir_option
@option("--exit-code", is_flag=True, help="Exit 1 unless everything is applied and unedited.")
@json_flag
@click.pass_context
def status(
    ctx: click.Context, /, db_url: str | None, directory: Path | None, exit_code: bool, as_json: bool
) -> None:
    """Compare the files with the database's history."""
    from realtime_toolkit import migrate

    report = migrate.status(settings(ctx, db_url=db_url).require("database_url"), migrations_here(directory))
    if not as_json:
        for problem in report.problems:
            say(problem.message)
    lines = [f"{entry.state:13} {entry.version} {entry.name}" for entry in report.entries]
    show(report, as_json, lines, f"{len(report.pending)} pending" if report.entries else "no migrations")
    ctx.exit(1 if exit_code and not report.ok else 0)


@migrate.command()
@db_url_option
@dir_option
@option("--target", metavar="VERSION", help="The last version to plan.")
@option("--include-all", is_flag=True, help="Also files older than the newest applied one.")
@option("--rehearse-on", metavar="URL", help="Find the locks there, in a transaction that is rolled back.")
@option("--stack", "on_stack", is_flag=True, help="Find the locks on an empty local stack of its own.")
@option("--allow-remote", is_flag=True, help="Rehearse also on a database that is not on this machine.")
@json_flag
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    db_url: str | None,
    directory: Path | None,
    on_stack: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """What ``up`` would do: the SQL, its order, and the locks that each statement takes.

    The locks are found by running it in a transaction that is rolled back, on a local database only.
    """
    from realtime_toolkit import migrate

    dsn, files = settings(ctx, db_url=db_url).require("database_url"), migrations_here(directory)

    async def on_a_stack() -> Any:
        from realtime_toolkit.stack import LocalStack

        async with LocalStack() as stack:
            return await asyncio.to_thread(
                migrate.plan, dsn, files, notice=say, **{**options, "rehearse_on": stack.database_url}
            )

    made = run(on_a_stack()) if on_stack else migrate.plan(dsn, files, notice=say, **options)
    if as_json:
        emit(made.as_dict())
    else:
        print_plan(made)
    ctx.exit(0 if made.ok else 1)


def print_plan(plan: Any) -> None:
    for file in plan.files:
        click.echo(f"-- {shown(file.file)}" + ("" if file.transactional else "  (not in a transaction)"))
        for statement in file.statements:
            click.echo(f"{shown_lines(statement.sql)};")
            for lock in statement.locks:
                blocks = f", blocks {lock.blocks}" if lock.blocks else ""
                click.echo(f"--   {lock.mode} on {shown(lock.relation)}{blocks}")
            for relation in statement.rewrites:
                click.echo(f"--   rewrites {shown(relation)}")
            if statement.note:
                click.echo(f"--   {statement.note}")
    say(f"{len(plan.files)} to apply; " + ("locks from a rehearsal" if plan.rehearsed else "not rehearsed"))
    if plan.failure:
        say(f"would fail: {plan.failure}")


@migrate.command()
@click.argument("name")
@dir_option
@option("--track", "table", metavar="TABLE", help="Write the migration that makes TABLE followable.")
@option("--kind", help="The kind of scope, with --track: conversation, tenant, …")
@option(
    "--scope-column", metavar="COLUMN", help="The column that says which scope a row is in, with --track."
)
@json_flag
def new(
    name: str,
    directory: Path | None,
    table: str | None,
    kind: str | None,
    scope_column: str | None,
    as_json: bool,
) -> None:
    """Begin a migration in supabase/migrations."""
    from realtime_toolkit import migrate

    if (table, kind, scope_column).count(None) not in (0, 3):
        raise click.UsageError("--track, --kind and --scope-column go together")
    track = migrate.Track(table, kind, scope_column) if table and kind and scope_column else None
    made = migrate.new(directory or Path("supabase/migrations"), name, track=track)
    show(made, as_json, [made.path], "next: realtime-toolkit migrate plan")


@migrate.command()
@click.argument("versions", nargs=-1, required=True, metavar="VERSION...")
@option("--status", type=click.Choice(["applied", "reverted"]), required=True)
@db_url_option
@dir_option
@wait_option
@json_flag
@click.pass_context
def repair(
    ctx: click.Context,
    /,
    versions: tuple[str, ...],
    db_url: str | None,
    directory: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Record versions as applied, or strike them off the history; runs nothing."""
    from realtime_toolkit import migrate

    dsn = settings(ctx, db_url=db_url).require("database_url")
    done = migrate.repair(dsn, migrations_here(directory), versions, notice=say, **options)
    lines = [f"{done.status} {version}" for version in done.versions]
    show(done, as_json, lines, f"{len(done.versions)} changed, {len(done.unchanged)} were so already")


@migrate.command()
@db_url_option
@option("--dir", "directory", type=DIRECTORY, default=Path("supabase/migrations"), show_default=True)
@wait_option
@option("--version", metavar="VERSION", help="Record the files up to this one as applied, unrun.")
@option("--dump", is_flag=True, help="Write the schema there is as the first migration.")
@json_flag
@click.pass_context
def baseline(
    ctx: click.Context, /, db_url: str | None, directory: Path, as_json: bool, **options: Any
) -> None:
    """Adopt a database that has a schema already; only its history is changed."""
    from realtime_toolkit import migrate

    dsn = settings(ctx, db_url=db_url).require("database_url")
    made = migrate.baseline(dsn, directory, notice=say, **options)
    written = [name for name in (made.dumped, *made.fetched) if name]
    lines = [*(f"wrote {name}" for name in written), *(f"recorded {name}" for name in made.recorded)]
    show(made, as_json, lines, f"{len(written)} written, {len(made.recorded)} recorded as applied")


@click.command()
@click.argument("checks", nargs=-1, metavar="[CHECK]...")
@db_url_option
@option("--schema", "schemas", multiple=True, help="Judge this schema only; may be given again.")
@option("--format", "form", type=click.Choice(["text", "json", "junit", "sarif", "github"]), default="text",
        show_default=True)  # fmt: skip
@option("--json", "as_json", is_flag=True, help="The same as --format json.")
@option("--output", type=FILE, help="Write the report here rather than to stdout.")
@option("--strict", is_flag=True, help="What could not be decided fails, too.")
@option("--fail-on", type=click.Choice(["error", "warning"]), default="warning", show_default=True,
        help="The least finding that fails; others are shown.")  # fmt: skip
@option("--baseline", type=FILE, help="Findings that are known and do not fail.")
@option("--update-baseline", is_flag=True, help="Write today's findings to the baseline.")
@option(
    "--dir",
    "directory",
    type=DIRECTORY,
    help="Migrations, to name file and line; default: supabase/migrations.",
)
@option("--allow-writes", is_flag=True,
        help="Run the dynamic checks on a database elsewhere, too; all is rolled back but the numbers that sequences gave.")  # fmt: skip
@option("--snapshot", type=FILE, default=Path("supabase/access.snapshot"), show_default=True,
        help="Who may read, write and receive what, to be compared with where it is there.")  # fmt: skip
@option("--update-snapshot", is_flag=True, help="Write today's access to the snapshot.")
@option("--leaks", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
        help="How long to look for states of rows in which they show in another tenant; 0: not at all.")  # fmt: skip
@option("--pgtap", type=FILE, help="Write the access matrix as a pgTAP test, and do nothing else.")
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    checks: tuple[str, ...],
    db_url: str | None,
    schemas: tuple[str, ...],
    form: str,
    as_json: bool,
    output: Path | None,
    strict: bool,
    fail_on: str,
    baseline: Path | None,
    update_baseline: bool,
    directory: Path | None,
    allow_writes: bool,
    snapshot: Path,
    update_snapshot: bool,
    leaks: float,
    pgtap: Path | None,
) -> None:
    """Judge the database as Realtime will treat it: who can read, write and receive what.

    CHECK is a code, the beginning of one, or a group; none means all.
    """
    from realtime_toolkit import verify

    if update_baseline and baseline is None:
        raise click.UsageError("--update-baseline goes with --baseline FILE")
    dsn = settings(ctx, db_url=db_url).require("database_url")
    config = verify.load_config(Path("supabase/verify.toml"))
    if pgtap is not None:
        script = verify.pgtap(dsn, schemas=schemas, config=config, allow_writes=allow_writes)
        pgtap.write_text(script, encoding="utf-8")
        return
    known = verify.read_baseline(baseline) if baseline is not None and not update_baseline else frozenset()
    report = verify.verify(
        dsn,
        checks=checks,
        schemas=schemas,
        config=config,
        migrations=migrations_here(directory),
        baseline=known,
        allow_writes=allow_writes,
        snapshot=None if update_snapshot else snapshot,
        leaks=leaks,
    )
    if update_snapshot:
        verify.write_snapshot(snapshot, report)
    if update_baseline and baseline is not None:
        say(f"{baseline}: {verify.write_baseline(baseline, report)} findings")
        report = verify.without_known(report, verify.read_baseline(baseline))
    least = verify.Level(fail_on)
    text = verify.render(report, "json" if as_json else form, strict=strict, fail_on=least)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
    ctx.exit(report.exit_code(strict=strict, fail_on=least))
