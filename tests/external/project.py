"""What these tests may do to a project, and in which state they leave it.

They reap tasks whoever made them, create and drop tables, roles and databases, and change the publication.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

from realtime_toolkit.errors import ConfigError, Unreachable
from realtime_toolkit.migrate.session import LOCAL_HOSTS, is_local
from realtime_toolkit.testing import ExternalProject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MINE = "TOOLKIT_EXTERNAL_IS_MINE"

OURS = ("conversations", "message_chunks", "messages", "realtime_watermarks", "tasks")

OBJECTS = """
select 'database ' || datname from pg_database
union all select 'role ' || rolname from pg_roles
union all select 'slot ' || slot_name from pg_replication_slots where not temporary
union all select format('published %s.%s by %s', schemaname, tablename, pubname) from pg_publication_tables
  where schemaname <> 'realtime'
union all select format('policy %I on %s.%s', policyname, schemaname, tablename) from pg_policies
union all select 'schema ' || nspname from pg_namespace where nspname !~ '^pg_(temp|toast)'
union all select 'function ' || oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace
union all select 'type ' || oid::regtype from pg_type where typnamespace = 'public'::regnamespace
union all select 'tracked ' || c.oid::regclass from realtime_toolkit.tracked join pg_class c on c.oid = relation
"""

# Of users made up by tests: an account of the project's own is known to Auth.
CONVERSATIONS_OF_NOBODY = """
delete from public.conversations c
where created_at >= %s and not exists (select from auth.users u where u.id::text = c.user_id::text)
"""
WATERMARKS_OF_NOBODY = """
delete from public.realtime_watermarks w
where created_at >= %s and not exists (select from auth.users u where u.id::text = w.user_id::text)
"""
# Of tables that were dropped as they were.
REGISTRATIONS_OF_NOTHING = """
delete from realtime_toolkit.tracked t where not exists (select from pg_class c where c.oid = t.relation)
"""


def allowed(env: Mapping[str, str]) -> ExternalProject:
    """The project that these variables name, if tests may use it.

    Raises :class:`ConfigError` where a variable is missing, or the project is elsewhere, not empty, and not ours.
    """
    project = ExternalProject.from_env(env)
    if env.get(MINE) != "1" and not on_this_machine(project) and (found := contents(project)):
        raise ConfigError(
            f"the tests would reap tasks, drop tables and change the publication of {urlsplit(project.url).netloc}, which "
            f"is not on this machine and not empty ({_some(found)}): {MINE}=1 says that they may"
        )
    return project


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def on_this_machine(project: ExternalProject) -> bool:
    return urlsplit(project.url).hostname in LOCAL_HOSTS and is_local(project.database_url)


def contents(project: ExternalProject) -> list[str]:
    """What somebody may want to keep: tables of theirs, rows in ours, accounts."""
    with connected(project) as db:
        tables = [
            name
            for (name,) in db.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
                " order by 1"
            )
        ]
        filled = [f"public.{name}" for name in tables if name in OURS and _any(db, f"public.{name}")]
        accounts = ["auth.users"] if _is_there(db, "auth.users") and _any(db, "auth.users") else []
        return [f"public.{name}" for name in tables if name not in OURS] + filled + accounts


def _is_there(db: psycopg.Connection[Any], table: str) -> bool:
    return db.execute("select to_regclass(%s)", [table]).fetchone() != (None,)


def _any(db: psycopg.Connection[Any], table: str) -> bool:
    return db.execute(f"select 1 from {table} limit 1".encode()).fetchone() is not None


@contextmanager
def connected(project: Any) -> Iterator[psycopg.Connection[Any]]:
    try:
        connection = psycopg.connect(project.database_url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Unreachable(f"DATABASE_URL: {str(error).strip().splitlines()[-1]}") from None
    with connection as db:
        yield db


@contextmanager
def left_as_found(project: ExternalProject) -> Iterator[None]:
    """Sweeps up the conversations of test users in the end; what else is there then and was not before is an error."""
    with connected(project) as db:
        before = objects(db)
        (since,) = db.execute("select clock_timestamp()").fetchone() or (None,)
        yield
        if _is_there(db, "auth.users"):
            db.execute(CONVERSATIONS_OF_NOBODY, [since])
            db.execute(WATERMARKS_OF_NOBODY, [since])
        db.execute(REGISTRATIONS_OF_NOTHING)
        changed = sorted(before ^ objects(db))
    assert not changed, f"the tests left the project otherwise than they found it: {', '.join(changed)}"


def objects(db: psycopg.Connection[Any]) -> set[str]:
    return {str(name) for (name,) in db.execute(OBJECTS)}


if __name__ == "__main__":
    try:
        allowed(os.environ)
    except (ConfigError, Unreachable) as refusal:
        sys.exit(f"error: {refusal}")
