"""A session in which verify looks: read-only snapshots, what the checks are told, and errors in our own words."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import TupleRow

from realtime_toolkit.errors import ConfigError, InputError, StoreError, Unauthorized, Unreachable
from realtime_toolkit.migrate.session import address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Connection = psycopg.Connection[TupleRow]

TIMEOUT = "30s"
_TRACKED = """
select coalesce(jsonb_agg(jsonb_build_object(
  'relation', relation::regclass::text, 'kind', kind, 'scope_column', scope_column)), '[]')::text
from realtime_toolkit.tracked
"""


def server_version(connection: Connection) -> str:
    """Raises :class:`ConfigError` below Postgres 15, whose catalog the checks do not know."""
    if connection.info.server_version < 150000:
        raise ConfigError("verify reads the catalog of Postgres 15 or later")
    return str(connection.info.parameter_status("server_version"))


def require_schemas(connection: Connection, schemas: Sequence[str]) -> None:
    """Raise :class:`InputError` for a schema that is not there: judging nothing would look like a pass."""
    for name in schemas:
        found = connection.execute(
            "select from pg_catalog.pg_namespace where nspname = %s", (name,)
        ).fetchone()
        if found is None:
            raise InputError(f"there is no schema {name!r} in the database")


def require_tables(connection: Connection, names: Sequence[str]) -> None:
    """Raise :class:`ConfigError` for a table told to be published that is not there: it would look like a pass."""
    for name in names:
        qualified = name if "." in name else f"public.{name}"
        try:
            with connection.transaction():
                found = connection.execute("select to_regclass(%s) is not null", (qualified,)).fetchone()
        except (psycopg.errors.InvalidName, psycopg.errors.SyntaxError):
            found = None
        if found is None or not found[0]:
            raise ConfigError(f"supabase/verify.toml: there is no table {qualified} to be published")


@contextmanager
def translated(dsn: str) -> Iterator[None]:
    """Turn what psycopg raises outside a check's own statements into the toolkit's errors."""
    try:
        yield
    except psycopg.Error as error:
        text = " ".join((error.diag.message_primary or str(error)).split())
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            raise Unreachable(f"lost the connection to {address(dsn)}: {text}") from None
        if error.sqlstate == "42501":
            raise Unauthorized(f"{address(dsn)}: {text}") from None
        raise StoreError(f"{address(dsn)}: {text} ({error.sqlstate})") from None


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """A read-only transaction whose names are all spelled out (``search_path = pg_catalog``)."""
    with connection.transaction(force_rollback=True):
        connection.execute("set transaction isolation level repeatable read, read only")
        set_local(connection, "search_path", "pg_catalog")
        set_local(connection, "statement_timeout", TIMEOUT)
        # Deparsed expressions must not depend on the session; these queries gain nothing by JIT.
        set_local(connection, "standard_conforming_strings", "on")
        set_local(connection, "jit", "off")
        yield


def settings(connection: Connection, schemas: Sequence[str] = (), expected: Sequence[str] = ()) -> None:
    """What ``checks/_facts.sql`` reads of us, for the rest of the transaction."""
    set_local(connection, "toolkit.schemas", json.dumps(list(schemas)))
    set_local(connection, "toolkit.expected", json.dumps(list(expected)))
    set_local(connection, "toolkit.tracked", _tracked(connection))


def set_local(connection: Connection, name: str, value: str) -> None:
    connection.execute("select pg_catalog.set_config(%s, %s, true)", (name, value))


def _tracked(connection: Connection) -> str:
    """What track_table registered; nothing where the toolkit's schema is not there or may not be read."""
    try:
        with connection.transaction():
            row = connection.execute(_TRACKED).fetchone()
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.InsufficientPrivilege,
    ):
        return "[]"
    return str(row[0]) if row else "[]"
