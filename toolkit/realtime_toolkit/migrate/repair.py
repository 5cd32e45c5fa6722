"""Put the history right without running a migration: ``repair`` single rows, ``baseline`` a whole project."""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from realtime_toolkit.errors import InputError, MigrationError
from realtime_toolkit.migrate import history
from realtime_toolkit.migrate.dump import schema_sql
from realtime_toolkit.migrate.files import new, read_directory
from realtime_toolkit.migrate.session import connect, exclusive, refuse_transaction_pooler, silent, translated
from realtime_toolkit.migrate.sqlsplit import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.migrate.files import Migration
    from realtime_toolkit.migrate.history import History
    from realtime_toolkit.migrate.session import Connection, Notice


@dataclass(frozen=True, slots=True)
class Repaired:
    """``versions`` are those whose rows changed; ``unchanged`` were as asked already."""

    status: Literal["applied", "reverted"]
    versions: tuple[str, ...]
    unchanged: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def repair(
    dsn: str,
    directory: Path,
    versions: Sequence[str],
    *,
    status: Literal["applied", "reverted"],
    wait: float = 60.0,
    notice: Notice = silent,
) -> Repaired:
    """Record versions as applied, with their files' statements, or strike them off; runs nothing.

    Raises :class:`InputError` for a version to record that has no file.
    """
    if not versions:
        raise InputError("name the versions to repair")
    files = {migration.version: migration for migration in read_directory(directory)}
    unknown = [version for version in versions if status == "applied" and version not in files]
    if unknown:
        raise InputError(f"no file in {directory} has version {' or '.join(unknown)}")
    with _locked(dsn, wait, notice) as connection:
        seen = history.read(connection)
        with connection.transaction():
            if status == "reverted":
                changed = [v for v in versions if history.forget(connection, v)]
            else:
                changed = [v for v in versions if not _as_recorded(files[v], seen)]
                _record(connection, [files[v] for v in changed])
    return Repaired(status, tuple(changed), tuple(v for v in versions if v not in changed))


def _as_recorded(migration: Migration, seen: History) -> bool:
    row = seen.row(migration.version)
    return row is not None and row.statements == tuple(migration.texts) and row.name == migration.name


def _record(connection: Connection, migrations: Sequence[Migration]) -> None:
    for migration in migrations:
        history.forget(connection, migration.version)
        history.record(connection, migration)


@contextmanager
def _locked(dsn: str, wait: float, notice: Notice) -> Iterator[Connection]:
    with translated(dsn), closing(connect(dsn, notice=notice)) as connection:
        refuse_transaction_pooler(dsn, connection)
        with exclusive(connection, wait=wait, notice=notice):
            history.create(connection)
            yield connection


@dataclass(frozen=True, slots=True)
class Baseline:
    """``dumped`` and ``fetched`` files were written, ``recorded`` ones only marked as applied."""

    dumped: str | None = None
    fetched: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def baseline(
    dsn: str,
    directory: Path,
    *,
    version: str | None = None,
    dump: bool = False,
    wait: float = 60.0,
    notice: Notice = silent,
) -> Baseline:
    """Adopt a database that has a schema already; nothing of it is changed but the history.

    Files that the history has and the directory lacks are written from the history. With ``version``, the
    files up to it are recorded as applied without being run. With ``dump``, for a database without any
    history, the schema itself becomes the first migration (:mod:`realtime_toolkit.migrate.dump` says what of it).
    """
    directory.mkdir(parents=True, exist_ok=True)
    if version is not None and version not in {m.version for m in read_directory(directory)}:
        raise InputError(f"no file in {directory} has version {version}")
    with _locked(dsn, wait, notice) as connection:
        seen = history.read(connection)
        dumped = _dump(dsn, connection, directory, seen) if dump else None
        fetched = _fetch(directory, seen, notice)
        unknown = [m for m in read_directory(directory) if seen.row(m.version) is None]
        adopted = [m for m in unknown if m.file == dumped or (version is not None and m.version <= version)]
        with connection.transaction():
            _record(connection, adopted)
    return Baseline(dumped, fetched, tuple(m.file for m in adopted if m.file != dumped))


def _dump(dsn: str, connection: Connection, directory: Path, seen: History) -> str:
    if seen.rows:
        raise MigrationError(
            "the database has a migration history already: run migrate baseline without --dump for its files"
        )
    earliest = min((migration.version for migration in read_directory(directory)), default=None)
    return Path(new(directory, "baseline", sql=schema_sql(dsn, connection), before=earliest).path).name


def _fetch(directory: Path, seen: History, notice: Notice) -> tuple[str, ...]:
    """Write a file for each row that has none; rows without statements cannot be told and are left.

    So are rows whose version is no number: as a file's name it could lead anywhere, and no tool would read it.
    """
    there = {migration.version for migration in read_directory(directory)}
    fetched = []
    for row in seen.rows:
        if row.version in there or row.statements is None:
            continue
        if not re.fullmatch("[0-9]{1,40}", row.version):
            notice(f"left: version {row.version!r} of the history is no number")
            continue
        name = re.sub(r"[^\w.-]", "_", row.name)[:50]
        path = directory / f"{row.version}_{name}.sql"
        path.write_text("".join(f"{_terminated(text)}\n" for text in row.statements), encoding="utf-8")
        fetched.append(path.name)
    return tuple(fetched)


def _terminated(statement: str) -> str:
    """With its ``;``: on a line of its own where a line comment ends the text, none after a mere comment."""
    if not split(statement)[0].words:
        return statement
    return f"{statement}\n;" if "--" in statement.rpartition("\n")[2] else f"{statement};"
