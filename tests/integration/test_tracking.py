"""track_table and its undoing, on tables this project knows nothing of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from realtime_toolkit.wal import decoder as wal
from tests.integration.acting import Connection, acting, call, column, connect, new_id, sqlstate, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_toolkit.stack import LocalStack

STAMPS = ["created_at", "updated_at", "version", "changed_in"]


@pytest.fixture
async def table(there: Connection) -> AsyncIterator[str]:
    """A name for a table; what has it afterwards is dropped."""
    name = f"t_{new_id()[:8]}"
    yield f"public.{name}"
    if await value(there, "select to_regclass(%s)", f"public.{name}"):
        await call(there, "untrack_table", target=f"public.{name}")
        await there.execute(f"drop table public.{name} cascade")


async def make(there: Connection, table: str, columns: str) -> None:
    await there.execute(f"create table {table} ({columns})")
    await there.execute(f"alter table {table} enable row level security")


async def track(there: Connection, table: str, kind: str = "thing", scope_column: str = "scope") -> None:
    await call(there, "track_table", target=table, kind=kind, scope_column=scope_column)


async def catalog(there: Connection, table: str) -> dict[str, Any]:
    """All that track_table and untrack_table may change of a table."""
    return {
        "file": await value(there, "select pg_relation_filenode(%s::regclass)", table),
        "columns": await column(
            there,
            """select format('%%s %%s %%s %%s', attname, format_type(atttypid, atttypmod), attnotnull,
                pg_get_expr(d.adbin, d.adrelid))
            from pg_attribute a left join pg_attrdef d on d.adrelid = attrelid and d.adnum = attnum
            where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attname""",
            table,
        ),
        "triggers": await column(
            there,
            "select tgname || tgenabled::text from pg_trigger where tgrelid = %s::regclass and not tgisinternal "
            "order by 1",
            table,
        ),
        "indexes": await column(
            there,
            "select indexrelid::regclass::text from pg_index where indrelid = %s::regclass order by 1",
            table,
        ),
        "identity": await identity(there, table),
        "published": await value(
            there,
            "select exists (select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid "
            "where p.pubname = 'supabase_realtime' and r.prrelid = %s::regclass)",
            table,
        ),
    }


async def identity(there: Connection, table: str) -> str:
    """``d``, ``f``, ``n``, or ``i`` and the columns of the index."""
    return str(
        await value(
            there,
            """select relreplident::text || coalesce((
                select '(' || string_agg(a.attname, ',' order by k.place) || ')'
                from pg_index i cross join unnest(i.indkey::int2[]) with ordinality k (attnum, place)
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                where i.indrelid = c.oid and i.indisreplident), '')
            from pg_class c where oid = %s::regclass""",
            table,
        )
    )


# What it does


async def test_a_composite_key_gets_an_identity_that_begins_with_the_scope(there: Connection) -> None:
    found = await catalog(there, "public.order_lines")
    assert found["identity"] == "i(tenant_id,order_id,line_no)"
    assert found["published"]
    assert found["triggers"] == ["zz_realtime_toolkit_fixedO", "zz_realtime_toolkit_stampO"]
    assert {
        "created_at timestamp with time zone t clock_timestamp()",
        "updated_at timestamp with time zone t clock_timestamp()",
        "version bigint t 1",
        "changed_in xid8 t pg_current_xact_id()",
    } <= set(found["columns"])


async def test_an_index_that_fits_is_used(there: Connection) -> None:
    assert await identity(there, "public.orders") == "i(tenant_id,id)"
    found = await catalog(there, "public.orders")
    assert found["indexes"] == ["orders_pkey", "orders_tenant_id_id_key"]


async def test_an_index_made_concurrently_before_is_used(there: Connection, table: str) -> None:
    await make(there, table, "id bigint primary key, scope int not null, at int not null")
    await there.execute(f"create unique index on {table} (id, scope)")  # the scope does not lead
    await there.execute(f"create unique index on {table} (scope, id) where at > 0")
    await there.execute(f"create unique index on {table} (scope, id, at)")
    await there.execute(f"create unique index concurrently wanted on {table} (scope, id) include (at)")
    before = await catalog(there, table)
    await track(there, table)
    after = await catalog(there, table)
    assert after["indexes"] == before["indexes"]
    assert await value(
        there, "select indisreplident from pg_index where indexrelid = 'public.wanted'::regclass"
    )


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("scope int primary key", "d"),
        ("scope int, n int, primary key (scope, n)", "d"),
        ("scope int, n int, primary key (n, scope)", "i(scope,n)"),
    ],
)
async def test_a_scope_column_inside_the_key(
    there: Connection, table: str, columns: str, expected: str
) -> None:
    await make(there, table, columns)
    await there.execute(f"alter table {table} replica identity full")
    await track(there, table)
    assert await identity(there, table) == expected
    await call(there, "untrack_table", target=table)
    assert await identity(there, table) == "f"


async def test_a_table_with_rows_is_not_rewritten_and_its_rows_come_with_the_next_sync(
    there: Connection, table: str
) -> None:
    await make(there, table, "id int primary key, scope int not null")
    await there.execute(
        f"insert into {table} select n, n %% 3 from generate_series(1, 100) n".replace("%%", "%")
    )
    cursor = await value(there, "select pg_snapshot_xmin(pg_current_snapshot())::text")
    before = await value(there, "select pg_relation_filenode(%s::regclass)", table)
    await track(there, table, kind="adopted")
    assert await value(there, "select pg_relation_filenode(%s::regclass)", table) == before
    epoch = (await call(there, "glance_scope", kind="adopted", value="1"))["epoch"]
    page = await call(there, "sync_scope", kind="adopted", value="1", since=cursor, epoch=epoch)
    assert not page["full"]
    assert {row["row"]["id"] for row in page["rows"]} == set(range(1, 101, 3))
    assert all(row["version"] == 1 for row in page["rows"])
    assert {row["table"] for row in page["rows"]} == {table}


async def test_again_changes_nothing(there: Connection) -> None:
    for name in ("public.orders", "public.order_lines"):
        before = await catalog(there, name)
        registered = await column(there, "select t::text from realtime_toolkit.tracked t order by 1")
        await track(there, name, "tenant", "tenant_id")
        assert await catalog(there, name) == before
        assert await column(there, "select t::text from realtime_toolkit.tracked t order by 1") == registered


async def test_again_mends_what_was_broken(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null")
    await track(there, table)
    whole = await catalog(there, table)
    await there.execute(f"alter table {table} disable trigger all")
    await there.execute(f"drop trigger zz_realtime_toolkit_fixed on {table}")
    await there.execute(f"alter table {table} replica identity default")
    await there.execute(f"alter publication supabase_realtime drop table {table}")
    await there.execute(f"alter table {table} alter updated_at drop not null, alter version drop default")
    assert await catalog(there, table) != whole
    await track(there, table)
    assert await catalog(there, table) == whole


async def test_columns_that_were_there_are_kept_and_kept_right(there: Connection, table: str) -> None:
    await make(
        there,
        table,
        "id int primary key, scope int not null, created_at timestamptz, updated_at timestamptz default now()",
    )
    await there.execute(f"insert into {table} values (1, 1, '2020-01-01Z', '2020-01-01Z')")
    before = await catalog(there, table)
    await track(there, table)
    assert (
        str(await value(there, f"select created_at at time zone 'utc' from {table}")) == "2020-01-01 00:00:00"
    )
    await there.execute(f"update {table} set updated_at = null")
    assert await value(there, f"select updated_at > now() - interval '1 minute' from {table}")
    await call(there, "untrack_table", target=table)
    after = await catalog(there, table)
    assert [each.split()[0] for each in after["columns"]] == [each.split()[0] for each in before["columns"]]


async def test_untrack_undoes_it(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null")
    await there.execute(f"alter table {table} replica identity nothing")
    before = await catalog(there, table)
    await track(there, table)
    assert await catalog(there, table) != before
    await call(there, "untrack_table", target=table)
    assert await catalog(there, table) == before
    assert not await column(
        there, "select 1 from realtime_toolkit.tracked where relation = %s::regclass", table
    )
    await call(there, "untrack_table", target=table)  # quiet about a table that is not tracked


async def test_untrack_leaves_what_track_did_not_make(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null, unique (scope, id)")
    await there.execute(f"alter publication supabase_realtime add table {table}")
    before = await catalog(there, table)
    await track(there, table)
    await call(there, "untrack_table", target=table)
    assert await catalog(there, table) == before


async def test_untrack_can_keep_the_columns(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null")
    await track(there, table)
    await there.execute(f"insert into {table} (id, scope) values (1, 1)")
    await call(there, "untrack_table", target=table, keep_columns=True)
    found = await catalog(there, table)
    assert {each.split()[0] for each in found["columns"]} == {"id", "scope", *STAMPS}
    assert found["triggers"] == []
    await track(there, table)  # and takes them up again


async def test_untrack_keeps_an_index_that_a_foreign_key_has_come_to_need(
    there: Connection, table: str
) -> None:
    await make(there, table, "id int primary key, scope int not null")
    await track(there, table)
    await there.execute(
        f"create table {table}_part (a int, b int, foreign key (a, b) references {table} (scope, id))"
    )
    indexes = (await catalog(there, table))["indexes"]
    await call(there, "untrack_table", target=table)
    assert (await catalog(there, table))["indexes"] == indexes
    await there.execute(f"drop table {table}_part")


async def test_a_missing_publication_is_made(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null")
    async with there.transaction(force_rollback=True):
        await there.execute("drop publication supabase_realtime")
        await track(there, table)
        assert await column(
            there,
            "select schemaname || '.' || tablename from pg_publication_tables where pubname = 'supabase_realtime'",
        ) == [table]


@pytest.mark.parametrize("tables", ["all tables", "tables in schema public"])
async def test_a_publication_that_has_it_already_is_left_alone(
    stack: LocalStack, elsewhere: str, there: Connection, table: str, tables: str
) -> None:
    await make(there, table, "id int primary key, scope int not null")
    superuser = make_conninfo(stack.admin_url, dbname=str(conninfo_to_dict(elsewhere)["dbname"]))
    async with connect(superuser) as admin, admin.transaction(force_rollback=True):
        await admin.execute("drop publication supabase_realtime")
        await admin.execute(f"create publication supabase_realtime for {tables}")
        await track(admin, table)
        assert not (await catalog(admin, table))["published"]
        await call(admin, "untrack_table", target=table)


# What it refuses


@pytest.mark.parametrize(
    ("ddl", "kind", "scope", "code", "says", "hint"),
    [
        ("create table {t} (id int primary key, scope int not null)", "thing", "scope", "55000",
         "row level security is off", "enable row level security"),
        ("create table {t} (id int, scope int not null); alter table {t} enable row level security", "thing",
         "scope", "55000", "no primary key", "add primary key"),
        ("create table {t} (id int primary key, scope int not null); alter table {t} enable row level security",
         "thing", "tenant", "42703", "no column 'tenant'", "scope_column names the column"),
        ("create table {t} (id int primary key, scope int); alter table {t} enable row level security",
         "thing", "scope", "55000", "may be null", "alter column scope set not null"),
        ("create table {t} (id char(5) primary key, scope int not null); alter table {t} enable row level security",
         "thing", "scope", "0A000", "character(5)", "uuid, bigint or text"),
        ("create table {t} (id bit(4) primary key, scope int not null); alter table {t} enable row level security",
         "thing", "scope", "0A000", "bit(4)", "uuid, bigint or text"),
        ("create table {t} (id float8 primary key, scope int not null); alter table {t} enable row level security",
         "thing", "scope", "0A000", "no exact text", "uuid, bigint or text"),
        ("create table {t} (id jsonb primary key, scope int not null); alter table {t} enable row level security",
         "thing", "scope", "0A000", "no single text", "uuid, bigint or text"),
        ("create table {t} (id bytea primary key, scope int not null); alter table {t} enable row level security",
         "thing", "scope", "0A000", "without \\x", "uuid, bigint or text"),
        ("create table {t} (id int primary key, scope bytea not null); alter table {t} enable row level security",
         "thing", "scope", "0A000", "without \\x", "uuid, bigint or text"),
        ("create domain {t}_code as char(3); create table {t} (id int primary key, scope {t}_code not null); "
         "alter table {t} enable row level security", "thing", "scope", "0A000", "first character",
         "uuid, bigint or text"),
        ("create table {t} (id int primary key, of int not null, "
         "scope int not null generated always as (of + 1) stored); alter table {t} enable row level security",
         "thing", "scope", "0A000", "generated", "ordinary column"),
        ("create table {t} (id int primary key, scope int not null, version text); "
         "alter table {t} enable row level security", "thing", "scope", "42804", "column version", "Rename it"),
        ("create table {t} (id int primary key, scope int not null, updated_at timestamptz); "
         "insert into {t} values (1, 1); alter table {t} enable row level security", "thing", "scope", "23502",
         "holds nulls", "update public."),
        ("create table {t} (id int, scope int not null, primary key (id, scope)) partition by list (scope); "
         "alter table {t} enable row level security", "thing", "scope", "42809", "not an ordinary table",
         "partitions"),
        ("create view {t} as select 1 as id, 2 as scope", "thing", "scope", "42809", "not an ordinary table",
         "Track the table"),
        ("create unlogged table {t} (id int primary key, scope int not null); "
         "alter table {t} enable row level security", "thing", "scope", "42809", "unlogged", "set logged"),
        ("create table {t} (id int primary key, scope int not null); alter table {t} enable row level security",
         "No Kind", "scope", "22023", "not a kind", "lower-case"),
    ],
)  # fmt: skip
async def test_refuses_and_says_how_to_mend_it(
    there: Connection, table: str, ddl: str, kind: str, scope: str, code: str, says: str, hint: str
) -> None:
    async with there.transaction(force_rollback=True):
        await there.execute(ddl.replace("{t}", table))
        with pytest.raises(psycopg.Error) as refused:
            async with there.transaction():
                await track(there, table, kind, scope)
        assert refused.value.sqlstate == code
        assert says in (refused.value.diag.message_primary or "")
        assert hint in (refused.value.diag.message_hint or "")
        assert not await column(
            there, "select 1 from realtime_toolkit.tracked where relation = %s::regclass", table
        )


async def test_refuses_a_second_kind(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null, other int not null")
    await track(there, table)
    for kind, scope in (("another", "scope"), ("thing", "other")):
        with pytest.raises(psycopg.Error, match="already tracked under kind thing by column scope"):
            await track(there, table, kind, scope)


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
@pytest.mark.parametrize("statement", [
    "select public.track_table('public.orders', 'tenant', 'tenant_id')",
    "select public.untrack_table('public.orders')",
    "insert into realtime_toolkit.tracked (relation, kind, scope_column, identity_before) "
    "values ('public.tenants', 'tenant', 'id', 'd')",
    "delete from realtime_toolkit.tracked",
    "update realtime_toolkit.origin set id = gen_random_uuid()",
])  # fmt: skip
async def test_the_api_roles_cannot_change_what_is_tracked(
    there: Connection, role: str, statement: str
) -> None:
    async with acting(there, new_id(), role):
        assert await sqlstate(there, statement) == "42501"


# The stamps


async def test_stamps_are_kept_whatever_the_client_sends(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null, body text")
    await track(there, table)
    forged = "timestamptz '2000-01-01', timestamptz '2100-01-01', 77, xid8 '1'"
    await there.execute(
        f"insert into {table} (id, scope, created_at, updated_at, version, changed_in) values (1, 1, {forged})"
    )
    stamps = "created_at = updated_at and updated_at between now() - interval '1 min' and clock_timestamp()"
    assert await value(there, f"select version = 1 and {stamps} from {table}")
    made = await value(there, f"select created_at from {table}")
    await there.execute(
        f"update {table} set (created_at, updated_at, version, changed_in) = (select {forged})"
    )
    row = await (
        await there.execute(
            f"select created_at, updated_at > created_at, version, changed_in::text from {table}"
        )
    ).fetchone()
    assert row is not None
    assert row[:3] == (made, True, 2)
    assert int(row[3]) > 1
    await there.execute(
        f"insert into {table} (id, scope, version) values (1, 1, 50) "
        "on conflict (id) do update set version = excluded.version, body = 'x'"
    )
    assert await value(there, f"select version from {table}") == 3


async def test_time_strictly_increases_and_versions_are_dense_within_one_transaction(
    there: Connection, table: str
) -> None:
    await make(there, table, "id int primary key, scope int not null")
    await track(there, table)
    await there.execute(f"insert into {table} (id, scope) values (1, 1)")
    seen = []
    async with there.transaction():
        for _ in range(50):
            seen.append(
                await (
                    await there.execute(
                        f"update {table} set scope = 1 returning updated_at, version, changed_in::text"
                    )
                ).fetchone()
            )
    times = [row[0] for row in seen if row]
    assert times == sorted(set(times))
    assert [row[1] for row in seen if row] == list(range(2, 52))
    assert len({row[2] for row in seen if row}) == 1


async def test_a_time_ahead_of_the_clock_still_increases(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null")
    await track(there, table)
    async with there.transaction():
        await there.execute("set local session_replication_role = replica")
        await there.execute(f"insert into {table} (id, scope, updated_at) values (1, 1, '2200-01-01Z')")
    await there.execute(f"update {table} set scope = 1")
    assert await value(there, f"select updated_at = '2200-01-01 00:00:00.000001Z' from {table}")


async def test_own_before_triggers_run_first(there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null")
    await track(there, table)
    await there.execute(
        "create or replace function public.meddle() returns trigger language plpgsql as "
        "$$ begin new.version := 99; return new; end $$"
    )
    await there.execute(
        f"create trigger later_than_s before insert or update on {table} for each row execute function public.meddle()"
    )
    await there.execute(f"insert into {table} (id, scope) values (1, 1)")
    assert await value(there, f"select version from {table}") == 1


@pytest.mark.parametrize("change", ["order_id = -2", "line_no = 9", "tenant_id = 2"])
async def test_key_and_scope_cannot_change(there: Connection, change: str) -> None:
    async with there.transaction(force_rollback=True):
        await there.execute("insert into tenants values (1, 'a'), (2, 'b')")
        await there.execute("insert into orders (id, tenant_id, customer) values (-1, 1, 'c'), (-2, 1, 'c')")
        await there.execute("insert into order_lines values (-1, 1, 1, 's', 1)")
        assert await sqlstate(there, f"update order_lines set {change}") == "23000"
        await there.execute("update order_lines set order_id = -1, line_no = 1, tenant_id = 1, sku = 'other'")


# Deletes


async def test_a_delete_carries_the_scope_in_the_log(elsewhere: str, there: Connection) -> None:
    await there.execute("insert into tenants values (7, 'x') on conflict do nothing")
    await there.execute("insert into orders (id, tenant_id, customer) values (-70, 7, 'c')")
    await there.execute("insert into order_lines values (-70, 3, 7, 's', 1)")
    slot = f"test_{new_id()[:8]}"
    await value(there, "select pg_create_logical_replication_slot(%s, 'pgoutput', true)::text", slot)
    await there.execute("delete from order_lines where order_id = -70")
    frames = await column(
        there,
        "select data from pg_logical_slot_get_binary_changes(%s, null, null, 'proto_version', '1', "
        "'publication_names', 'supabase_realtime')",
        slot,
    )
    decoder = wal.Decoder()
    decoded = [decoder.feed(frame) for frame in frames]
    deletes = [change for change in decoded if isinstance(change, wal.RowChange) and change.kind == "DELETE"]
    assert len(deletes) == 1
    assert deletes[0].old is not None
    names = [each.name for each in deletes[0].relation.columns]
    told = {name: old for name, old in zip(names, deletes[0].old, strict=True) if old is not None}
    assert told == {"order_id": b"-70", "line_no": b"3", "tenant_id": b"7"}


async def test_two_at_once_do_not_collide(elsewhere: str, there: Connection, table: str) -> None:
    await make(there, table, "id int primary key, scope int not null")

    async def once() -> None:
        async with connect(elsewhere) as db:
            await track(db, table)

    await asyncio.gather(*(once() for _ in range(4)))
    found = await catalog(there, table)
    assert len(found["indexes"]) == 2
    assert found["identity"] == "i(scope,id)"
