"""``roles.sql`` before the migrations and seed files after them, as the Supabase CLI 3.1.0 has them (measured).

A seed file is run once, in a transaction with its row in ``supabase_migrations.seed_files(path, hash)``; one
that has changed since is not run again, only its hash (SHA-256) is noted. ``roles.sql`` is kept in no history.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import posixpath
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from dotenv import dotenv_values
from psycopg import errors as pg

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.migrate.files import Migration, read_sql
from realtime_toolkit.migrate.run import failure
from realtime_toolkit.migrate.send import Failed, send
from realtime_toolkit.migrate.sqlsplit import split
from realtime_toolkit.migrate.units import How, steers, units

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.migrate.session import Connection, Notice
    from realtime_toolkit.migrate.sqlsplit import Statement

_CREATE = (
    "create schema if not exists supabase_migrations",
    "create table if not exists supabase_migrations.seed_files (path text not null primary key, hash text not null)",
)
_NOTE = """
insert into supabase_migrations.seed_files (path, hash) values (%s, %s)
on conflict (path) do update set hash = excluded.hash
"""


@dataclass(frozen=True, slots=True)
class Project:
    """What ``config.toml`` (or ``config.json``) says of migrations and seeds; ``home`` is the folder of ``supabase``."""

    home: Path
    migrations: bool = True
    seed: bool = True
    sql_paths: tuple[str, ...] = ("./seed.sql",)

    @property
    def roles(self) -> Path | None:
        path = self.home / "supabase" / "roles.sql"
        return path if path.is_file() else None


def project(directory: Path) -> Project | None:
    """The project of a migrations directory; ``None`` for one that is not ``supabase/migrations``.

    Raises :class:`ConfigError` for a file that cannot be read.
    """
    directory = directory.absolute()
    if (directory.parent.name, directory.name) != ("supabase", "migrations"):
        return None
    home = directory.parent.parent
    database = _table(_config(directory.parent), "db")
    values = _Values(home)
    return Project(
        home,
        migrations=values.flag(_table(database, "migrations"), "migrations"),
        seed=values.flag(_table(database, "seed"), "seed"),
        sql_paths=values.paths(_table(database, "seed")),
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        if (folder / "config.json").is_file():
            return dict(json.loads((folder / "config.json").read_bytes()))
        if (folder / "config.toml").is_file():
            return tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"the configuration in {folder} cannot be read: {error}") from None
    return {}


def _table(parent: dict[str, Any], name: str) -> dict[str, Any]:
    found = parent.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"supabase/config: {name} must be a table")
    return found


class _Values:
    """``env(NAME)`` is the variable of the process, else of ``supabase/.env`` or ``.env``; unset, it stays as it is."""

    def __init__(self, home: Path) -> None:
        files = [dotenv_values(home / name) for name in (".env", "supabase/.env")]
        self._variables: dict[str, str | None] = {**files[0], **files[1], **os.environ}

    def flag(self, table: dict[str, Any], name: str) -> bool:
        value = self._variables.get(f"SUPABASE_DB_{name.upper()}_ENABLED", table.get("enabled", True))
        text = str(self._resolved(value)).lower()
        if text in ("true", "t", "1"):
            return True
        if text in ("false", "f", "0"):
            return False
        raise ConfigError(f"supabase/config: db.{name}.enabled is neither true nor false: {text}")

    def paths(self, table: dict[str, Any]) -> tuple[str, ...]:
        paths = table.get("sql_paths", ["./seed.sql"])
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise ConfigError("supabase/config: db.seed.sql_paths must be a list of paths")
        return tuple(str(self._resolved(path)) for path in paths)

    def _resolved(self, value: Any) -> Any:
        named = re.fullmatch(r"env\((.*)\)", value) if isinstance(value, str) else None
        return self._variables.get(named[1], value) if named else value


# -- seed files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seed:
    """A seed file that is to be run, or, if it was before and has changed, to be noted. ``path`` is its key."""

    path: str
    file: Path
    hash: str
    ran: bool = False


def seed_files(project: Project, notice: Notice) -> list[str]:
    """The paths that ``sql_paths`` name, from the project's home, in the order in which they are run."""
    found: dict[str, None] = {}
    for pattern in project.sql_paths:
        path = posixpath.normpath(posixpath.join("supabase", pattern))
        there = sorted(_matches(project.home, path), key=os.fsencode)
        if not there:
            notice(f"no files matched pattern: {path}")
        for name in there:
            found |= dict.fromkeys(_below(project.home, name))
    return list(found)


def _matches(home: Path, path: str) -> list[str]:
    if not re.search(r"[*?\[]", path):
        return [path] if (home / path).exists() else []
    pattern = path.replace("[^", "[!").replace("**", "*")
    return glob.glob(pattern, root_dir=home, include_hidden=True)  # noqa: PTH207  (it may be absolute)


def _below(home: Path, name: str) -> Iterator[str]:
    """The file itself, or every SQL file of a folder; a link in it is passed over."""
    if not (home / name).is_dir():
        yield name
        return
    inside = (path for path in (home / name).rglob("*.sql") if path.is_file() and not path.is_symlink())
    yield from sorted(
        (posixpath.join(name, path.relative_to(home / name).as_posix()) for path in inside), key=os.fsencode
    )


def pending_seeds(connection: Connection, project: Project, notice: Notice) -> list[Seed]:
    known = _known(connection)
    seeds = []
    for path in seed_files(project, notice):
        digest = hashlib.sha256((project.home / path).read_bytes()).hexdigest()
        if known.get(path) != digest:
            seeds.append(Seed(path, project.home / path, digest, ran=path in known))
    return seeds


def _known(connection: Connection) -> dict[str, str]:
    try:
        return dict(connection.execute("select path, hash from supabase_migrations.seed_files").fetchall())
    except (pg.UndefinedTable, pg.InvalidSchemaName):
        return {}


def apply_seeds(connection: Connection, seeds: Sequence[Seed], notice: Notice) -> tuple[str, ...]:
    """Run them, each in a transaction with its row. Raises :class:`MigrationError`; what ran before stays."""
    for statement in _CREATE if seeds else ():
        connection.execute(statement)
    for seed in seeds:
        notice(
            f"noting that {seed.path} has changed; it is not run again"
            if seed.ran
            else f"seeding {seed.path}"
        )
        _apply_seed(connection, seed, notice)
    return tuple(seed.path for seed in seeds if not seed.ran)


def _apply_seed(connection: Connection, seed: Seed, notice: Notice) -> None:
    file = _as_migration(seed.file)
    statements = () if seed.ran else file.statements
    steered = any(map(steers, statements))
    connection.execute("begin")
    try:
        for some in [[statement] for statement in statements] if steered else [statements]:
            _send(connection, file, some, steered, notice)
        connection.execute(_NOTE, (seed.path, seed.hash))
        connection.execute("commit")
    except psycopg.Error as error:
        raise failure(file, None, error, _left(steered)) from None
    finally:
        if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.execute("rollback")


def _send(
    connection: Connection, file: Migration, statements: Sequence[Statement], steered: bool, notice: Notice
) -> None:
    try:
        send(connection, statements, notice, strict=True)
    except Failed as failed:
        raise failure(file, statements[failed.number], failed.error, _left(steered)) from None


def _left(steered: bool) -> str:
    return "what it committed itself stays" if steered else "nothing of this file was applied"


def _as_migration(path: Path) -> Migration:
    sql = read_sql(path)
    return Migration("", "", path, sql, split(sql))


# -- roles ---------------------------------------------------------------------------------------------------


def apply_roles(connection: Connection, path: Path, notice: Notice) -> None:
    """Run ``roles.sql``, as a migration without a history. Raises :class:`MigrationError`."""
    file = _as_migration(path)
    notice(f"creating the roles of {path.name}")
    for unit in units(file):
        try:
            if unit.how is How.OUTSIDE:
                connection.execute(unit.statements[0].sql.encode())
                continue
            with connection.transaction(force_rollback=unit.how is How.UNDONE):
                send(connection, unit.statements, notice, strict=True)
        except Failed as failed:
            raise failure(file, unit.statements[failed.number], failed.error, _left(unit.first > 0)) from None
        except psycopg.Error as error:
            raise failure(file, None, error, _left(unit.first > 0)) from None


def roles_that_are_new(connection: Connection, path: Path, notice: Notice) -> None:
    """The same for a server that may have had them before this database: each for itself, those that are there passed over."""
    for statement in _as_migration(path).statements:
        try:
            send(connection, [statement], notice, strict=True)
        except Failed as failed:
            if not isinstance(failed.error, pg.DuplicateObject):
                raise failure(
                    _as_migration(path), statement, failed.error, "roles before it are there"
                ) from None


def inputs(directory: Path) -> bytes:
    """Everything beside the migrations of a directory that decides what a database of the project is."""
    found = project(directory)
    if found is None:
        return b""
    files = [found.home / path for path in seed_files(found, lambda _: None)] if found.seed else []
    texts = [
        str(found).encode(),
        *(os.fsencode(file) + file.read_bytes() for file in (*files, *filter(None, [found.roles]))),
    ]
    return b"\0".join(texts)
