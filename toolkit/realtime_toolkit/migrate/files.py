"""Migration files on disk: reading a directory, copying ours into a project, beginning a new one.

File names are the Supabase CLI's, ``<digits>_<name>.sql``; the digits are the version, in the order of text.
A file whose text has the line ``-- realtime-toolkit: no-transaction`` before its first statement, or as its
first line the CLI's own ``-- pg-delta: transaction=false``, is run statement by statement instead of in one
transaction.
"""

from __future__ import annotations

import codecs
import os
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from realtime_toolkit.errors import InputError, MigrationError
from realtime_toolkit.migrate.sqlsplit import Statement, split
from realtime_toolkit.shown import shown

_FILE_NAME = re.compile(r"([0-9]+)_(.*)\.sql")
_NO_TRANSACTION = re.compile(
    r"^--[ \t]*realtime-toolkit:[ \t]*no-transaction[ \t]*\r?$|\A-- pg-delta: transaction=false\r?$",
    re.MULTILINE,
)
_OLD_INIT = re.compile(r"([0-9]{14})_init\.sql")
_OLD = "20211209000000"
"""The CLI 3.1.0 takes no ``…_init.sql`` that is older for a migration, if it is the first name in the directory."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, read and split."""

    version: str
    name: str
    path: Path
    sql: str = field(repr=False)
    statements: tuple[Statement, ...] = field(repr=False)
    transactional: bool = True

    @property
    def file(self) -> str:
        return self.path.name

    @property
    def texts(self) -> list[str]:
        """The statements as the history stores them."""
        return [statement.text for statement in self.statements]

    def line_at(self, offset: int) -> int:
        return self.sql.count("\n", 0, offset) + 1


class ProblemCode(StrEnum):
    DUPLICATE_VERSION = "duplicate_version"
    TEXT_ORDER = "text_order"
    IGNORED = "ignored"
    NOT_UTF8 = "not_utf8"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the directory itself, whatever the database says."""

    code: ProblemCode
    files: tuple[str, ...]
    message: str

    @property
    def stops(self) -> bool:
        """Whether nothing is applied for it: only where the Supabase CLI fails, too."""
        return self.code is ProblemCode.DUPLICATE_VERSION

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def packaged_migrations() -> Path:
    """Where this toolkit's own migrations are: package data of the wheel, or ``supabase/`` of a checkout."""
    package = Path(__file__).resolve().parent.parent
    in_wheel = package / "migrations"
    return in_wheel if in_wheel.is_dir() else package.parent.parent / "supabase" / "migrations"


def read_directory(directory: Path) -> tuple[Migration, ...]:
    """Every migration of a directory, in the order in which they apply.

    Raises :class:`InputError` if there is no such directory or a file cannot be read, :class:`MigrationError`
    if a file's name is not UTF-8.
    """
    if not directory.is_dir():
        raise InputError(f"no such directory: {directory}")
    found = [_read(path, match) for path, match in _named(directory)]
    return tuple(sorted(found, key=lambda migration: (migration.version, migration.file)))


def _named(directory: Path) -> list[tuple[Path, re.Match[str]]]:
    """As the CLI has it, whatever is no directory; a link that leads nowhere fails when it is read."""
    matches = ((path, _FILE_NAME.fullmatch(path.name)) for path in _entries(directory))
    return [
        (path, match) for path, match in matches if match and not path.is_dir() and not _is_old_init(path)
    ]


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir(), key=lambda path: os.fsencode(path.name))


def _is_old_init(path: Path) -> bool:
    match = _OLD_INIT.search(path.name)
    return bool(match and match[1] < _OLD and path == _entries(path.parent)[0])


def _read(path: Path, match: re.Match[str]) -> Migration:
    if not _is_utf8(path.name):
        raise MigrationError(
            f"{shown(path.name)}: the file's name is not UTF-8, which the history is; rename it"
        )
    sql = read_sql(path)
    statements = split(sql)
    head = sql[: statements[0].offset + statements[0].lead] if statements else ""
    return Migration(
        match[1], match[2], path, sql, statements, transactional=not _NO_TRANSACTION.search(head)
    )


def _is_utf8(text: str) -> bool:
    """False for a name or argument in another encoding, whose bytes Python keeps as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_sql(path: Path) -> str:
    """The text of a file; what is not UTF-8 becomes U+FFFD, as with the CLI, and :func:`problems` says so."""
    return _bytes(path).removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def problems(directory: Path) -> tuple[Problem, ...]:
    """What can be said against a directory without a database; the worst first."""
    named = [(match[1], path.name) for path, match in _named(directory)]
    return (*_duplicates(named), *_text_order(named), *_not_utf8(directory), *_ignored(directory))


def _duplicates(named: list[tuple[str, str]]) -> list[Problem]:
    by_version: dict[str, list[str]] = {}
    for version, name in named:
        by_version.setdefault(version, []).append(name)
    return [
        Problem(
            ProblemCode.DUPLICATE_VERSION,
            tuple(names),
            f"version {version} is used by {len(names)} files: {', '.join(names)}; rename all but one",
        )
        for version, names in by_version.items()
        if len(names) > 1
    ]


def _text_order(named: list[tuple[str, str]]) -> list[Problem]:
    """Versions are text in the history, and for the CLI; whoever reads names or numbers sees another order."""
    by_name = sorted(named, key=lambda pair: pair[1])
    by_text = sorted(named)
    by_number = sorted(named, key=lambda pair: (int(pair[0]), *pair))
    places = zip(by_name, by_text, by_number, strict=True)
    files = tuple(sorted({name for place in places if len(set(place)) > 1 for _, name in place}))
    if not files:
        return []
    message = f"{_some(files)}: the versions apply in the order of their text, which is not that of numbers or names"
    return [Problem(ProblemCode.TEXT_ORDER, files, message)]


def _not_utf8(directory: Path) -> list[Problem]:
    found = []
    for path, _ in _named(directory):
        try:
            _bytes(path).decode()
        except UnicodeDecodeError as error:
            message = f"{path.name}: not UTF-8 (byte {error.start}), and read with \ufffd for what is not; save it as UTF-8"
            found.append(Problem(ProblemCode.NOT_UTF8, (path.name,), message))
    return found


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _ignored(directory: Path) -> list[Problem]:
    """Whatever looks like SQL and is no migration."""
    return [
        Problem(ProblemCode.IGNORED, (path.name,), f"{shown(path.name)} is left out: {reason}")
        for path in _entries(directory)
        if ".sql" in path.name.lower() and not path.is_dir() and (reason := _why_ignored(path))
    ]


def _why_ignored(path: Path) -> str | None:
    if not _FILE_NAME.fullmatch(path.name):
        return "its name is not <digits>_<name>.sql"
    return (
        "the Supabase CLI passes over an init of before 2021-12-09; rename it" if _is_old_init(path) else None
    )


# -- init ---------------------------------------------------------------------------------------------


class CopyState(StrEnum):
    COPIED = "copied"
    KEPT = "kept"
    DIFFERS = "differs"
    VERSION_TAKEN = "version_taken"


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """What became of one of our migrations; ``existing`` is the file that was there already."""

    file: str
    state: CopyState
    existing: str | None = None

    @property
    def ok(self) -> bool:
        return self.state in (CopyState.COPIED, CopyState.KEPT)


@dataclass(frozen=True, slots=True)
class Initialised:
    directory: str
    files: tuple[CopiedFile, ...]

    @property
    def ok(self) -> bool:
        return all(file.ok for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def init(project: Path, source: Path | None = None) -> Initialised:
    """Copy our migrations into ``project``'s ``supabase/migrations`` (or into it, if it is that directory).

    A file that is there is never written to: ``kept`` if it has the same text, ``differs`` if not. Where a
    version is taken by a file of another name and text nothing at all is copied.
    """
    directory = migrations_of(project)
    ours = _named(source or packaged_migrations())
    theirs = {match[1]: path for path, match in _named(directory)} if directory.is_dir() else {}
    files = [_compare(path, directory / path.name, theirs.get(match[1])) for path, match in ours]
    if all(file.state is not CopyState.VERSION_TAKEN for file in files):
        _copy(
            [path for (path, _), file in zip(ours, files, strict=True) if file.state is CopyState.COPIED],
            directory,
        )
    return Initialised(str(directory), tuple(files))


def migrations_of(project: Path) -> Path:
    """The migrations directory of a project directory; also understands being given that directory itself."""
    if project.name == "migrations":
        return project
    return project / "migrations" if project.name == "supabase" else project / "supabase" / "migrations"


def _compare(ours: Path, target: Path, same_version: Path | None) -> CopiedFile:
    existing = target if target.exists() else same_version
    if existing is None:
        return CopiedFile(ours.name, CopyState.COPIED)
    if read_sql(ours).replace("\r\n", "\n") == read_sql(existing).replace("\r\n", "\n"):
        return CopiedFile(ours.name, CopyState.KEPT, existing.name)
    state = CopyState.DIFFERS if existing.name == ours.name else CopyState.VERSION_TAKEN
    return CopiedFile(ours.name, state, existing.name)


def _copy(paths: list[Path], directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths:
            with (directory / path.name).open("xb") as target:
                target.write(path.read_bytes())
    except OSError as error:
        raise InputError(f"{error.filename or directory}: {error.strerror}") from None


# -- new ----------------------------------------------------------------------------------------------

_PART = r'(?:[^\W\d][\w$]*|"(?:[^"]|"")+")'
_TABLE = re.compile(rf"(?:{_PART}\.)?{_PART}")


@dataclass(frozen=True, slots=True)
class Track:
    """The table that a new migration makes followable.

    ``table`` is written as in SQL (``orders``, ``shop.orders``, ``shop."Orders"``), ``scope_column`` as the
    catalog has it. Raises :class:`InputError` for what cannot be a name.
    """

    table: str
    kind: str
    scope_column: str

    def __post_init__(self) -> None:
        if not _TABLE.fullmatch(self.table):
            raise InputError(f"not a table name: {self.table!r} (write schema.table)")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", self.kind):
            raise InputError(f"not a kind: {self.kind!r} (lower-case letters, digits and _)")
        if not self.scope_column:
            raise InputError(f"not a column name: {self.scope_column!r}")
        for name in (self.table, self.scope_column):
            if "\0" in name or not _is_utf8(name):
                raise InputError(f"no name in Postgres holds what {name!r} does")

    def sql(self) -> str:
        """The text of the migration."""
        qualified = re.fullmatch(rf"{_PART}\.{_PART}", self.table)
        table = _literal(self.table if qualified else f"public.{self.table}")
        return (
            f"-- Whoever follows a {self.kind} receives the changes of this table from now on.\n"
            "-- The table needs row-level security, a primary key and a scope column that is NOT NULL;\n"
            "-- track_table says how to mend what is missing.\n"
            f"select public.track_table(\n  {table}, kind => {_literal(self.kind)},\n"
            f"  scope_column => {_literal(self.scope_column)}\n);\n"
        )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Created:
    path: str
    version: str
    sql: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def new(
    directory: Path,
    name: str,
    *,
    track: Track | None = None,
    sql: str = "",
    before: str | None = None,
    now: datetime | None = None,
) -> Created:
    """Begin a migration file; its text is ``sql``, or what makes a table followable.

    Its version is the time (UTC), or one second past the newest file's if that is later; with ``before``
    one second before that version, if that is earlier.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise InputError(f"not a migration name: {name!r} (it needs a letter or a digit)")
    directory.mkdir(parents=True, exist_ok=True)
    present = (now or datetime.now(UTC)).astimezone(UTC).strftime(_TIME)
    if before is not None:
        version = min(present, _seconds_from(before, -1))
    else:
        newest = max((match[1] for _, match in _named(directory)), default="")
        version = present if newest < present else _seconds_from(newest, 1)
    text = track.sql() if track else sql
    path = directory / f"{version}_{slug}.sql"
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return Created(str(path), version, text)


_TIME = "%Y%m%d%H%M%S"


def _seconds_from(version: str, seconds: int) -> str:
    try:
        when = datetime.strptime(version, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise InputError(f"version {version} is not a time (14 digits): name the new file by hand") from None
    return (when + timedelta(seconds=seconds)).strftime(_TIME)
