"""Our own migrations, by our own runner, from whatever version a database stands at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import migrate
from realtime_toolkit.migrate.files import read_directory
from realtime_toolkit.stack.postgres.template import BASELINE
from tests.integration.databases import maker_url
from tests.integration.migrating import rows, run

if TYPE_CHECKING:
    from realtime_toolkit.stack import LocalStack

OURS = migrate.packaged_migrations()
SCHEMA = """
select 'function ' || pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '') from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace where n.nspname in ('public', 'realtime_toolkit') and p.prokind <> 'a'
union all select 'column ' || a.attrelid::regclass || a.attname || a.atttypid::regtype || a.attnotnull
    || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || coalesce(c.relacl::text, '') || c.relrowsecurity || c.relreplident::text
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where n.nspname in ('public', 'realtime_toolkit') and a.attnum > 0 and not a.attisdropped
union all select 'policy ' || p::text from pg_policies p
union all select 'trigger ' || pg_get_triggerdef(oid) || tgenabled::text from pg_trigger where not tgisinternal
union all select 'index ' || pg_get_indexdef(indexrelid) || indisreplident from pg_index
  where indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
union all select 'published ' || p::text from pg_publication_tables p
order by 1
"""


def with_baseline(stack: LocalStack, dsn: str) -> str:
    """Give the database what a Supabase project starts with."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    admin = psycopg.conninfo.make_conninfo(maker_url(stack), dbname=name)
    run(admin, "".join(script.read_text(encoding="utf-8") for script in BASELINE))
    return dsn


@pytest.fixture
def at_once(stack: LocalStack, empty_database: str) -> str:
    dsn = with_baseline(stack, empty_database)
    assert len(migrate.up(dsn, OURS).applied) == len(read_directory(OURS))
    return dsn


def test_every_prefix_can_be_gone_on_from(stack: LocalStack, at_once: str, another_database: str) -> None:
    dsn = with_baseline(stack, another_database)
    versions = [migration.version for migration in read_directory(OURS)]
    for number, version in enumerate(versions):
        plan = migrate.plan(dsn, OURS)
        assert (plan.failure, len(plan.files)) == (None, len(versions) - number)
        assert len(migrate.up(dsn, OURS, target=version).applied) == 1
    assert migrate.status(dsn, OURS).ok
    assert rows(dsn, SCHEMA) == rows(at_once, SCHEMA)


def test_they_block_nobody_who_is_there(stack: LocalStack, empty_database: str) -> None:
    """On a project in use: nothing of it is locked against reading or writing, nothing rewritten."""
    dsn = with_baseline(stack, empty_database)
    run(
        dsn,
        "create table public.theirs (id bigint primary key); alter publication supabase_realtime add table theirs",
    )
    plan = migrate.plan(dsn, OURS)
    statements = [statement for file in plan.files for statement in file.statements]
    assert [
        lock for statement in statements for lock in statement.locks if lock.relation == "public.theirs"
    ] == []
    assert [statement.rewrites for statement in statements if statement.rewrites] == []
    json.dumps(plan.as_dict())


def test_a_table_of_the_users_own_becomes_followable(at_once: str, tmp_path: Path) -> None:
    migrate.init(tmp_path)
    directory = migrate.migrations_of(tmp_path)
    shop = (
        'create schema shop; create table shop."Orders" (id bigint primary key, tenant_id int not null);'
        'alter table shop."Orders" enable row level security;'
    )
    Path(migrate.new(directory, "shop").path).write_text(shop)
    migrate.new(directory, "follow", track=migrate.Track('shop."Orders"', "tenant", "tenant_id"))
    assert len(migrate.up(at_once, directory).applied) == 2
    published = "select tablename from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'shop'"
    assert rows(at_once, published) == [("Orders",)]
