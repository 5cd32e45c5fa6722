"""sync_scope, digest_scope and rows_scope: on orders, and on keys of every sort."""

from __future__ import annotations

import asyncio
import contextlib
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.migrate.dump import _pg_dump
from realtime_toolkit.model import Digest, canonical_key, key_hash, row_hash
from tests.integration.acting import (
    Connection,
    Row,
    acting,
    as_digest,
    call,
    column,
    connect,
    digest_of,
    new_id,
    sqlstate,
    value,
)
from tests.integration.databases import maker_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from realtime_toolkit.stack import LocalStack

Ref = tuple[str, str]
State = tuple[int, int]


@pytest.fixture
def member() -> str:
    return new_id()


@pytest.fixture
async def tenant(there: Connection, member: str) -> AsyncIterator[int]:
    """A new tenant that ``member`` belongs to."""
    made = random.randrange(1000, 2**31)
    await there.execute("insert into tenants values (%s, 'test')", [made])
    await there.execute("insert into memberships values (%s, %s)", [made, member])
    yield made
    await there.execute("delete from tenants where id = %s", [made])


async def order(there: Connection, tenant: int, customer: str = "c") -> int:
    return int(
        await value(
            there, "insert into orders (tenant_id, customer) values (%s, %s) returning id", tenant, customer
        )
    )


async def line(there: Connection, tenant: int, order_id: int, line_no: int) -> None:
    await there.execute(
        "insert into order_lines (order_id, line_no, tenant_id, sku, quantity) values (%s, %s, %s, 'sku', 1)",
        [order_id, line_no, tenant],
    )


async def sync(db: Connection, tenant: int, user: str | None = None, **arguments: Any) -> Row:
    answer: Row = await call(db, "sync_scope", user, kind="tenant", value=str(tenant), **arguments)
    return answer


async def pages(
    db: Connection, tenant: int, size: int, user: str | None = None, **arguments: Any
) -> list[Row]:
    """All pages of one sync."""
    got = [await sync(db, tenant, user, page_size=size, **arguments)]
    while got[-1]["more"]:
        assert got[-1]["digest"] is None
        assert len(got) < 200
        last = got[-1]
        got.append(
            await sync(
                db,
                tenant,
                user,
                since=last["cursor"],
                epoch=last["epoch"],
                page_size=size,
                after=last["after"],
            )
        )
    assert got[-1]["after"] is None
    return got


def states(rows: Iterable[Row]) -> dict[Ref, State]:
    return {(row["table"], row["key"]): (row["version"], int(row["changed_in"])) for row in rows}


def digest_of_states(held: dict[Ref, State]) -> Digest:
    total = Digest()
    for (table, key), (version, changed_in) in held.items():
        total = total.plus(row_hash(table, key, version, changed_in))
    return total


# What one call says


async def test_what_a_table_of_a_kind_looks_like(there: Connection, member: str) -> None:
    found = await call(there, "tracked_tables", member, kind="tenant")
    assert [each["table"] for each in found] == ["order_lines", "orders"]
    assert found[0] == {
        "schema": "public",
        "table": "order_lines",
        "scope_column": "tenant_id",
        "key_columns": ["order_id", "line_no"],
        "columns": [
            "order_id", "line_no", "tenant_id", "sku", "quantity",
            "created_at", "updated_at", "version", "changed_in",
        ],
        "altered": [],
        "nulled": [],
    }  # fmt: skip
    assert await call(there, "tracked_tables", member, kind="nothing") == []


async def test_a_full_sync_and_a_delta(there: Connection, member: str, tenant: int) -> None:
    first = await order(there, tenant, "ann")
    await line(there, tenant, first, 1)
    page = await sync(there, tenant, member)
    assert (page["full"], page["more"], page["after"]) == (True, False, None)
    assert [(row["table"], row["key"]) for row in page["rows"]] == [
        ("public.orders", f"[{first}]"),
        ("public.order_lines", f"[{first}, 1]"),
    ]
    assert page["rows"][0]["row"]["customer"] == "ann"
    assert as_digest(page["digest"]) == digest_of(page["rows"])

    again = await sync(there, tenant, member, since=page["cursor"], epoch=page["epoch"])
    assert (again["full"], again["rows"], again["digest"]) == (False, [], page["digest"])

    await there.execute("update orders set total = 12.50 where id = %s", [first])
    delta = await sync(there, tenant, member, since=page["cursor"], epoch=page["epoch"])
    assert [(row["table"], row["version"]) for row in delta["rows"]] == [("public.orders", 2)]
    assert delta["rows"][0]["row"]["total"] == Decimal("12.50")
    assert as_digest(delta["digest"]) == digest_of([*delta["rows"], page["rows"][1]])
    assert int(delta["cursor"]) > int(delta["rows"][0]["changed_in"])


async def test_rows_come_in_the_order_of_their_transactions(
    there: Connection, member: str, tenant: int
) -> None:
    ids = [await order(there, tenant) for _ in range(4)]
    await there.execute("update orders set total = 1 where id = %s", [ids[1]])
    await there.execute("update orders set total = 1 where id = %s", [ids[0]])
    page = await sync(there, tenant, member)
    assert [row["key"] for row in page["rows"]] == [f"[{ids[n]}]" for n in (2, 3, 1, 0)]


async def test_a_stranger_and_a_scope_that_is_not_there_see_nothing(there: Connection, tenant: int) -> None:
    await order(there, tenant)
    for user, scope in ((new_id(), tenant), (new_id(), 3)):
        page = await sync(there, scope, user)
        assert (page["rows"], page["digest"]) == ([], {"count": 0, "total": "0"})
    assert (await call(there, "digest_scope", new_id(), kind="tenant", value=str(tenant)))["buckets"] == []


async def test_a_row_deleted_and_one_made_invisible_show_in_the_digest(
    there: Connection, member: str, tenant: int
) -> None:
    kept, gone = await order(there, tenant), await order(there, tenant)
    page = await sync(there, tenant, member)
    await there.execute("delete from orders where id = %s", [gone])
    after = await sync(there, tenant, member, since=page["cursor"], epoch=page["epoch"])
    assert after["rows"] == []
    assert as_digest(after["digest"]) == digest_of(row for row in page["rows"] if row["key"] == f"[{kept}]")

    await there.execute("delete from memberships where user_id = %s", [member])
    lost = await sync(there, tenant, member, since=page["cursor"], epoch=page["epoch"])
    assert (lost["rows"], lost["digest"]["count"]) == ([], 0)


async def test_a_row_made_again_under_its_key_and_version_has_another_digest(
    there: Connection, member: str, tenant: int
) -> None:
    made = await order(there, tenant)
    before = await sync(there, tenant, member)
    await there.execute("delete from orders where id = %s", [made])
    await there.execute("insert into orders (id, tenant_id, customer) values (%s, %s, 'c')", [made, tenant])
    after = await sync(there, tenant, member)
    assert after["rows"][0]["version"] == before["rows"][0]["version"] == 1
    assert after["digest"] != before["digest"]


# What it refuses


@pytest.mark.parametrize(
    ("kind", "scope", "code"),
    [
        ("tenant", "'seven'", "22P02"),
        ("tenant", "'99999999999999'", "22P02"),
        ("tenant", "''", "22P02"),
        ("tenant", "null", "22004"),
        ("tenants", "'7'", "RT004"),
    ],
)
async def test_a_scope_that_cannot_be(
    there: Connection, member: str, kind: str, scope: str, code: str
) -> None:
    async with acting(there, member):
        assert await sqlstate(there, f"select sync_scope('{kind}', {scope})") == code
        assert await sqlstate(there, f"select digest_scope('{kind}', {scope})") == code
        assert await sqlstate(there, f"select rows_scope('{kind}', {scope}, array[''])") == code


async def test_a_cursor_that_cannot_be(there: Connection, member: str) -> None:
    async with acting(there, member):
        for since in ("'-1'", "'12a'", "''", "' 1'"):
            assert await sqlstate(there, f"select sync_scope('tenant', '7', {since})") == "22P02"
        for after in ("''", "'{'", "'[]'", '\'{"started": "1"}\'', '\'{"seen": "1:x:"}\''):
            assert await sqlstate(there, f"select sync_scope('tenant', '7', after => {after})") == "22P02"


async def test_prefixes_that_cannot_be(there: Connection, member: str) -> None:
    async with acting(there, member):
        for given in ("array['g']", "array['A']", "array[null::text]", "null", f"array['{'0' * 32}']"):
            assert await sqlstate(there, f"select digest_scope('tenant', '7', {given})") == "22023"
        assert await sqlstate(there, f"select rows_scope('tenant', '7', array['{'0' * 33}'])") == "22023"


async def test_anon_cannot_ask(there: Connection) -> None:
    async with acting(there, role="anon"):
        for query in (
            "select tracked_tables('tenant')",
            "select sync_scope('tenant', '7')",
            "select digest_scope('tenant', '7')",
            "select rows_scope('tenant', '7', array[''])",
        ):
            assert await sqlstate(there, query) == "42501"


# Column privileges


async def test_a_column_that_may_not_be_read_is_left_out(there: Connection, member: str, tenant: int) -> None:
    await order(there, tenant)
    async with there.transaction(force_rollback=True):
        await there.execute("revoke select on orders from authenticated")
        await there.execute(
            "grant select (id, tenant_id, customer, version, changed_in) on orders to authenticated"
        )
        page = await sync(there, tenant, member)
        assert set(page["rows"][0]["row"]) == {"id", "tenant_id", "customer", "version", "changed_in"}
        listed = await call(there, "tracked_tables", member, kind="tenant")
        assert listed[1]["columns"] == ["id", "tenant_id", "customer", "version", "changed_in"]
        assert "total" in (await sync(there, tenant))["rows"][0]["row"]  # the owner's right is another


@pytest.mark.parametrize("needed", ["id", "tenant_id", "version", "changed_in"])
async def test_a_table_without_a_needed_column_is_not_followable(
    there: Connection, member: str, tenant: int, needed: str
) -> None:
    made = await order(there, tenant)
    await line(there, tenant, made, 1)
    async with there.transaction(force_rollback=True):
        rest = ", ".join({"id", "tenant_id", "version", "changed_in", "customer"} - {needed})
        await there.execute("revoke select on orders from authenticated")
        await there.execute(f"grant select ({rest}) on orders to authenticated")
        assert [each["table"] for each in await call(there, "tracked_tables", member, kind="tenant")] == [
            "order_lines"
        ]
        page = await sync(there, tenant, member)
        assert {row["table"] for row in page["rows"]} == {"public.order_lines"}
        await there.execute("revoke select on order_lines from authenticated")
        async with acting(there, member):
            assert await sqlstate(there, "select sync_scope('tenant', '7')") == "42501"


async def test_a_table_that_lost_its_key_is_an_error_and_not_a_gap(
    there: Connection, member: str, tenant: int
) -> None:
    async with there.transaction(force_rollback=True):
        await there.execute("alter table order_lines drop constraint order_lines_pkey")
        async with acting(there, member):
            assert await sqlstate(there, f"select sync_scope('tenant', '{tenant}')") == "55000"
            assert await sqlstate(there, "select tracked_tables('tenant')") == "55000"
    async with there.transaction(force_rollback=True):
        await there.execute("alter table orders rename tenant_id to renter")
        async with acting(there, member):
            assert await sqlstate(there, f"select sync_scope('tenant', '{tenant}')") == "55000"


async def test_a_dropped_table_is_forgotten(there: Connection, member: str, tenant: int) -> None:
    made = await order(there, tenant)
    async with there.transaction(force_rollback=True):
        await there.execute("drop table order_lines")
        assert [row["key"] for row in (await sync(there, tenant, member))["rows"]] == [f"[{made}]"]


# Keys of every sort

NASTY = [
    "plain", "", " ", "ü€😀𝒳", 'say "hi"', "back\\slash", "tab\tnew\nline\rfeed\fbell\x07\x01\x1f\x7f",
    "\u00e9", "e\u0301", "\u2028\u2029", "</script>", "%s %I {}", "null", "[1, 2]",
]  # fmt: skip
KEYS: dict[str, tuple[str, list[Any]]] = {
    "text": ("text", NASTY),
    "varchar": ("varchar(40)", NASTY),
    "bigint": ("bigint", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]),
    "smallint": ("smallint", [0, -5, 32767]),
    "numeric": ("numeric", [Decimal(text) for text in (
        "0", "1.5000", "-0.1", "123456789012345678901234567890.123456789", "1e30", "0.000000000000000001")]),
    "uuid": ("uuid", ["00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"]),
    "timestamptz": ("timestamptz", [
        "2024-02-29 13:14:15.123456+02", "2024-02-29 13:14:15.1+00", "0044-03-15 00:00+00 BC", "infinity"]),
    "timestamp": ("timestamp", ["2024-02-29 13:14:15.123456", "1999-12-31 00:00"]),
    "date": ("date", ["2024-02-29", "infinity"]),
    "boolean": ("boolean", [True, False]),
    "interval": ("interval", ["1 year 2 mons 3 days 04:05:06.7", "-1 day"]),
    "inet": ("inet", ["10.0.0.1/8", "::1"]),
    "domain": ("public.code", ["a\"b", "ü"]),
    "enum": ("public.mood", ["so \"so\"", "glad"]),
    "range": ("int4range", ["[1,5)", "empty"]),
}  # fmt: skip


# As the genuine server shows such values (FACTS.md), whatever the session's own formats are.
AS_REALTIME = {
    "key_timestamptz": {
        '["2024-02-29T11:14:15.123456+00:00"]', '["2024-02-29T13:14:15.1+00:00"]',
        '["0044-03-15T00:00:00+00:00 BC"]', '["infinity"]',
    },
    "key_timestamp": {'["2024-02-29T13:14:15.123456"]', '["1999-12-31T00:00:00"]'},
    "key_interval": {'["1 year 2 mons 3 days 04:05:06.7"]', '["-1 days"]'},
    "key_numeric": {
        "[0]", "[1.5000]", "[-0.1]", "[123456789012345678901234567890.123456789]",
        "[1000000000000000000000000000000]", "[0.000000000000000001]",
    },
}  # fmt: skip


@pytest.fixture
async def keyed(there: Connection, request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, list[Any]]]:
    """A tracked table with keys of the type that the test is called with."""
    kind, values = KEYS[request.param]
    name = f"key_{request.param}"
    await there.execute(
        "drop domain if exists public.code; create domain public.code as text check (value <> '')"
    )
    await there.execute(
        "drop type if exists public.mood; create type public.mood as enum ('so \"so\"', 'glad')"
    )
    await there.execute(f"create table public.{name} (k {kind} primary key, scope text not null, v text)")
    await there.execute(f"alter table public.{name} enable row level security")
    await there.execute(f"create policy readable on public.{name} for select to authenticated using (true)")
    await there.execute(f"grant select on public.{name} to authenticated")
    await call(there, "track_table", target=f"public.{name}", kind="nasty", scope_column="scope")
    try:
        yield name, values
    finally:
        await call(there, "untrack_table", target=f"public.{name}")
        await there.execute(f"drop table public.{name}; drop domain public.code; drop type public.mood")


@pytest.mark.parametrize("keyed", list(KEYS), indirect=True)
async def test_key_and_digest_are_the_same_in_python(
    there: Connection, member: str, keyed: tuple[str, list[Any]]
) -> None:
    name, values = keyed
    for each in values:
        await there.execute(f"insert into public.{name} (k, scope) values (%s, 'ß:\"x')", [each])
    # A session's own formats must not show.
    await there.execute(
        "set timezone = 'Asia/Kathmandu'; set datestyle = 'German'; set intervalstyle = 'iso_8601'"
    )
    page = await call(there, "sync_scope", member, kind="nasty", value='ß:"x')
    assert len(page["rows"]) == len(values)
    for row in page["rows"]:
        assert row["key"] == canonical_key([row["row"]["k"]])
    assert as_digest(page["digest"]) == digest_of(page["rows"])
    if name in AS_REALTIME:
        assert {row["key"] for row in page["rows"]} == AS_REALTIME[name]

    prefixes = [key_hash(row["table"], row["key"]) for row in page["rows"]]
    found = await call(there, "rows_scope", member, kind="nasty", value='ß:"x', prefixes=prefixes[1:])
    assert states(found["rows"]) == {
        ref: state for ref, state in states(page["rows"]).items() if ref[1] != page["rows"][0]["key"]
    }
    cut = [await call(there, "sync_scope", member, kind="nasty", value='ß:"x', page_size=1)]
    while cut[-1]["more"]:
        cut.append(
            await call(
                there, "sync_scope", member, kind="nasty", value='ß:"x', page_size=1, after=cut[-1]["after"]
            )
        )
    assert sorted(row["key"] for part in cut for row in part["rows"]) == sorted(
        row["key"] for row in page["rows"]
    )


async def test_names_that_need_quoting(there: Connection, member: str) -> None:
    table = "public.\"Odd 'name' || 'x\""
    await there.execute(
        f'create table {table} ("Key ""1""" uuid, "select" int, "sc ope" uuid not null, "100%%" bytea, '
        'primary key ("select", "Key ""1"""))'.replace("%%", "%")
    )
    try:
        await there.execute(f"alter table {table} enable row level security")
        await there.execute(f"create policy readable on {table} for select to authenticated using (true)")
        await there.execute(f"grant select on {table} to authenticated")
        await call(there, "track_table", target=table, kind="odd", scope_column="sc ope")
        scope = new_id()
        for n in range(3):
            await there.execute(
                sql.SQL("insert into {} values (%s, %s, %s, 'abc')").format(sql.SQL(table)),
                [new_id(), n, scope],
            )
        page = await call(there, "sync_scope", member, kind="odd", value=scope.upper())
        for row in page["rows"]:
            assert row["key"] == canonical_key([row["row"]["select"], row["row"]['Key "1"']])
            assert row["row"]["100%"] == "\\x616263"
        assert len(page["rows"]) == 3
        assert as_digest(page["digest"]) == digest_of(page["rows"])
        first = await call(there, "sync_scope", member, kind="odd", value=scope, page_size=2)
        second = await call(there, "sync_scope", member, kind="odd", value=scope, after=first["after"])
        assert states([*first["rows"], *second["rows"]]) == states(page["rows"])
        await call(there, "untrack_table", target=table)
    finally:
        await there.execute(f"drop table {table}")


# Bisection


async def test_the_tree_of_digests_adds_up(there: Connection, member: str, tenant: int) -> None:
    made = await order(there, tenant)
    for number in range(300):
        await line(there, tenant, made, number)
    page = await sync(there, tenant, member)
    expected: dict[str, list[Row]] = {}
    for row in page["rows"]:
        for length in (1, 2, 3):
            expected.setdefault(key_hash(row["table"], row["key"])[:length], []).append(row)

    async def children(prefixes: list[str]) -> dict[str, Digest]:
        found = await call(there, "digest_scope", member, kind="tenant", value=str(tenant), prefixes=prefixes)
        assert found["epoch"] == page["epoch"]
        assert int(found["cursor"]) >= int(page["cursor"])
        return {bucket["prefix"]: as_digest(bucket) for bucket in found["buckets"]}

    root = await children([""])
    assert root == {prefix: digest_of(rows) for prefix, rows in expected.items() if len(prefix) == 1}
    some = sorted(root)[:3]
    assert await children([*some, some[0]]) == {
        prefix: digest_of(rows) for prefix, rows in expected.items() if len(prefix) == 2 and prefix[0] in some
    }
    mixed = await children(["", some[0] + "0"])
    assert {prefix for prefix in mixed if len(prefix) == 3} == {
        prefix for prefix in expected if len(prefix) == 3 and prefix.startswith(some[0] + "0")
    }
    assert {prefix for prefix in mixed if len(prefix) == 1} == set(root)
    assert await children([]) == {}


async def test_rows_under_prefixes(there: Connection, member: str, tenant: int) -> None:
    made = await order(there, tenant)
    for number in range(50):
        await line(there, tenant, made, number)
    page = await sync(there, tenant, member)
    wanted = [row for row in page["rows"] if key_hash(row["table"], row["key"])[0] in "37c"]

    async def rows(prefixes: list[str], **options: Any) -> list[Row]:
        answer = await call(
            there, "rows_scope", member, kind="tenant", value=str(tenant), prefixes=prefixes, **options
        )
        return list(answer["rows"])

    assert states(await rows(["3", "7", "c", "c"])) == states(wanted)
    keys = await rows(["3", "7", "c"], keys_only=True)
    assert states(keys) == states(wanted)
    assert all(row["row"] is None for row in keys)
    assert states(await rows([""])) == states(page["rows"])
    assert await rows([]) == []
    assert await rows(["0" * 32]) == []


# Pages


async def test_pages_of_one_transaction_with_many_rows(there: Connection, member: str, tenant: int) -> None:
    made = await order(there, tenant)
    await there.execute(
        "insert into order_lines (order_id, line_no, tenant_id, sku, quantity) "
        "select %s, n, %s, 'sku', 1 from generate_series(1, 25) n",
        [made, tenant],
    )
    whole = await sync(there, tenant, member)
    for size, count in ((1, 26), (7, 4), (25, 2), (26, 1)):
        got = await pages(there, tenant, size, member)
        assert len(got) == count
        assert [page["full"] for page in got] == [True] + [False] * (count - 1)
        assert all(len(page["rows"]) <= size for page in got)
        assert states(row for page in got for row in page["rows"]) == states(whole["rows"])
        assert got[-1]["digest"] == whole["digest"]
        assert [page["cursor"] for page in got[:-1]] == ["0"] * (count - 1)

    delta = await pages(there, tenant, 7, member, since="1", epoch=whole["epoch"])
    assert not any(page["full"] for page in delta)
    assert {page["cursor"] for page in delta[:-1]} == {"1"}
    assert states(row for page in delta for row in page["rows"]) == states(whole["rows"])


async def test_a_page_costs_what_is_on_it_and_not_what_is_left(
    there: Connection, member: str, tenant: int
) -> None:
    """Whoever walks a large scope reads each row once, by the scope's index."""
    made = await order(there, tenant)
    await there.execute(
        "insert into order_lines (order_id, line_no, tenant_id, sku, quantity) "
        "select %s, n, %s, 'sku', 1 from generate_series(1, 30000) n order by md5(n::text)",
        [made, tenant],
    )
    await there.execute("vacuum analyze order_lines")
    reads = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relid = 'order_lines'::regclass"
    async with there.transaction():
        # To the planner as a table that is too large for memory, where it would rather sort than walk an index.
        await there.execute("set local random_page_cost = 400")
        first = await sync(there, tenant, page_size=100)
        await sync(there, tenant, page_size=100, after=first["after"])
        assert await value(there, reads) < 1000


async def test_wide_rows_cut_a_page_too(there: Connection, member: str, tenant: int) -> None:
    for _ in range(6):
        await order(there, tenant, "x" * 3_000_000)
    got = await pages(there, tenant, 5000, member)
    assert [len(page["rows"]) for page in got] == [3, 3]


async def test_what_changes_between_pages_comes_before_the_digest(
    there: Connection, elsewhere: str, member: str, tenant: int
) -> None:
    ids = [await order(there, tenant) for _ in range(10)]
    first = await sync(there, tenant, member, page_size=4)
    await there.execute("update orders set total = 5 where id in (%s, %s)", [ids[0], ids[9]])
    await line(there, tenant, ids[2], 1)  # a table that the walk has passed already
    held = states(first["rows"])
    page = first
    while page["more"]:
        page = await sync(there, tenant, member, page_size=4, after=page["after"])
        held |= states(page["rows"])
    assert digest_of_states(held) == as_digest(page["digest"])


async def test_pages_come_to_an_end_while_an_old_transaction_holds_the_horizon(
    there: Connection, elsewhere: str, member: str, tenant: int
) -> None:
    async with connect(elsewhere) as old, old.transaction(force_rollback=True):
        await old.execute("insert into tenants values (%s, 'old')", [tenant - 1])
        held_at = await value(old, "select pg_current_xact_id()::text")
        start = await sync(there, tenant, member)
        ids = [await order(there, tenant) for _ in range(20)]
        page = await sync(there, tenant, member, since=start["cursor"], epoch=start["epoch"], page_size=3)
        held = states(page["rows"])
        count = 1
        while page["more"]:
            if count < 4:  # somebody goes on writing for a while
                await there.execute("update orders set total = %s where id = %s", [count, ids[0]])
            page = await sync(there, tenant, member, page_size=3, after=page["after"])
            held |= states(page["rows"])
            count += 1
            assert count < 12
        assert page["cursor"] == held_at
        assert digest_of_states(held) == as_digest(page["digest"])


async def test_a_continuation_of_another_history_starts_from_nothing(
    there: Connection, member: str, tenant: int
) -> None:
    for _ in range(3):
        await order(there, tenant)
    first = await sync(there, tenant, member, page_size=1)
    forged = first["after"].replace(first["epoch"], "another")
    again = await sync(there, tenant, member, since=first["cursor"], epoch=first["epoch"], after=forged)
    assert (again["full"], len(again["rows"])) == (True, 3)


# The horizon


async def test_a_row_of_a_slow_writer_comes_with_the_sync_after_its_commit(
    there: Connection, elsewhere: str, member: str, tenant: int
) -> None:
    async with connect(elsewhere) as slow:
        async with slow.transaction():
            late = await order(slow, tenant, "slow")
            quick = await order(there, tenant, "quick")
            before = await sync(there, tenant, member)
            assert [row["key"] for row in before["rows"]] == [f"[{quick}]"]
            # by time, the slow row is older than all that this sync saw
            middle = await sync(there, tenant, member, since=before["cursor"], epoch=before["epoch"])
            assert int(middle["cursor"]) <= int(await value(slow, "select pg_current_xact_id()::text"))
        after = await sync(there, tenant, member, since=middle["cursor"], epoch=middle["epoch"])
        assert f"[{late}]" in [row["key"] for row in after["rows"]]


async def test_a_transaction_sees_its_own_rows(there: Connection, tenant: int) -> None:
    start = await sync(there, tenant)
    async with there.transaction():
        made = await order(there, tenant)
        own = await sync(there, tenant, since=start["cursor"], epoch=start["epoch"])
    assert [row["key"] for row in own["rows"]] == [f"[{made}]"]


async def test_rolled_back_rows_and_savepoints(there: Connection, member: str, tenant: int) -> None:
    start = await sync(there, tenant, member)
    async with there.transaction():
        kept = await order(there, tenant, "kept")
        with contextlib.suppress(psycopg.errors.RaiseException):
            async with there.transaction():
                await order(there, tenant, "gone")
                await there.execute("do $$ begin raise exception 'no'; end $$")
        within = await sync(there, tenant, member, since=start["cursor"], epoch=start["epoch"])
        assert [row["key"] for row in within["rows"]] == [f"[{kept}]"]  # one's own, before commit
        assert int(within["cursor"]) <= int(within["rows"][0]["changed_in"])
    after = await sync(there, tenant, member, since=start["cursor"], epoch=start["epoch"])
    assert states(after["rows"]) == states(within["rows"])


async def test_the_cursor_misses_nothing_under_concurrent_writers(
    there: Connection, elsewhere: str, member: str, tenant: int
) -> None:
    """Four writers with rollbacks; after every sync, no visible row is missing or stale in what was kept."""
    for _ in range(20):
        await order(there, tenant)
    stop = asyncio.Event()

    async def write(seed: int) -> None:
        dice = random.Random(seed)
        async with connect(elsewhere) as db:
            while not stop.is_set():
                with contextlib.suppress(psycopg.errors.RaiseException, psycopg.errors.DeadlockDetected):
                    async with db.transaction():
                        for _ in range(dice.randrange(1, 4)):
                            await db.execute(
                                "update orders set total = total + 1 where id in (select id from orders "
                                "where tenant_id = %s offset %s limit 1)",
                                [tenant, dice.randrange(20)],
                            )
                            await order(db, tenant)
                            await asyncio.sleep(dice.random() / 200)
                        if dice.random() < 0.3:
                            await db.execute("do $$ begin raise exception 'no'; end $$")

    async def read() -> int:
        held: dict[Ref, State] = {}
        cursor = epoch = None
        syncs = 0
        async with connect(elsewhere) as db:
            while syncs < 60:
                got = await pages(db, tenant, 40 if syncs % 2 else 5000, member, since=cursor, epoch=epoch)
                for page in got:
                    held |= states(page["rows"])
                cursor, epoch = got[-1]["cursor"], got[-1]["epoch"]
                assert digest_of_states(held) == as_digest(got[-1]["digest"])
                syncs += 1
        stop.set()
        return syncs

    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        for seed in range(4):
            group.create_task(write(seed))
        reader = group.create_task(read())
    assert reader.result() == 60


# Epochs


async def test_a_cursor_from_another_history_starts_from_nothing(
    there: Connection, member: str, tenant: int
) -> None:
    await order(there, tenant)
    page = await sync(there, tenant, member)
    other = await sync(there, tenant, member, since=page["cursor"], epoch="f" * 32)
    assert (other["full"], len(other["rows"])) == (True, 1)
    ahead = await sync(there, tenant, member, since=str(2**63), epoch=page["epoch"])
    assert (ahead["full"], len(ahead["rows"])) == (True, 1)


async def test_every_role_has_the_same_epoch_and_none_reads_its_parts(
    there: Connection, member: str, tenant: int
) -> None:
    service = await sync(there, tenant)
    assert (await sync(there, tenant, member))["epoch"] == service["epoch"]
    async with acting(there, member):
        assert await sqlstate(there, "select * from realtime_toolkit.origin") == "42501"
    async with acting(there, role="anon"):
        assert await sqlstate(there, "select realtime_toolkit.epoch()") == "42501"


@pytest.mark.parametrize(
    "restore",
    [
        "update realtime_toolkit.origin set id = gen_random_uuid()",
        # as pg_restore does: the same row, written anew
        "create temporary table kept as table realtime_toolkit.origin; truncate realtime_toolkit.origin; "
        "insert into realtime_toolkit.origin select * from kept; drop table kept",
    ],
)
async def test_a_restore_begins_another_epoch(there: Connection, restore: str) -> None:
    before = await value(there, "select realtime_toolkit.epoch()")
    assert await value(there, "select realtime_toolkit.epoch()") == before
    await there.execute(restore)
    assert await value(there, "select realtime_toolkit.epoch()") != before


async def test_a_copy_of_the_database_is_another_epoch(stack: LocalStack, elsewhere: str) -> None:
    source = str(conninfo_to_dict(elsewhere)["dbname"])
    copy = f"copy_{new_id()[:8]}"
    with psycopg.connect(maker_url(stack), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(copy), sql.Identifier(source))
        )
        try:
            async with connect(elsewhere) as one, connect(make_conninfo(elsewhere, dbname=copy)) as two:
                epoch = "select realtime_toolkit.epoch()"
                assert await value(one, epoch) != await value(two, epoch)
                assert await column(
                    two, "select relation::text from realtime_toolkit.tracked order by 1"
                ) == (await column(one, "select relation::text from realtime_toolkit.tracked order by 1"))
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(copy)))


async def test_a_dump_restored_is_another_epoch_of_the_same_rows(
    stack: LocalStack, elsewhere: str, there: Connection, member: str, tenant: int
) -> None:
    """Tracking survives pg_dump: triggers, registry, identity, and every row's own stamps."""
    version = await value(there, "select current_setting('server_version_num')::int / 10000")
    try:
        tools = _pg_dump(version).parent
    except ConfigError as why:
        pytest.skip(str(why))
    await line(there, tenant, await order(there, tenant), 1)
    before = await sync(there, tenant, member)
    source = make_conninfo(maker_url(stack), dbname=str(conninfo_to_dict(elsewhere)["dbname"]))
    dump = await asyncio.create_subprocess_exec(
        tools / "pg_dump", "--dbname", source, stdout=asyncio.subprocess.PIPE
    )
    script, _ = await dump.communicate()
    name = f"restored_{new_id()[:8]}"
    target = make_conninfo(maker_url(stack), dbname=name)
    with psycopg.connect(maker_url(stack), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        try:
            load = await asyncio.create_subprocess_exec(
                tools / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", target,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await load.communicate(script)
            assert load.returncode == 0
            async with connect(make_conninfo(elsewhere, dbname=name)) as restored:
                after = await sync(restored, tenant, member, since=before["cursor"], epoch=before["epoch"])
                assert after["full"]
                assert (states(after["rows"]), after["digest"]) == (states(before["rows"]), before["digest"])
                await restored.execute("update orders set total = 1 where tenant_id = %s", [tenant])
                delta = await sync(restored, tenant, member, since=after["cursor"], epoch=after["epoch"])
                assert [row["version"] for row in delta["rows"]] == [2]
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


async def test_rows_with_numbers_from_the_future_come_once(
    there: Connection, member: str, tenant: int
) -> None:
    """After a restore into a younger cluster, transaction numbers of rows lie ahead of it."""
    async with there.transaction():
        await there.execute("set local session_replication_role = replica")
        await there.execute(
            "insert into orders (tenant_id, customer, version, changed_in) "
            "select %s, 'restored', 3, '900000000000' from generate_series(1, 10)",
            [tenant],
        )
    got = await pages(there, tenant, 4, member)
    assert sum(len(page["rows"]) for page in got) == 10
    held = states(row for page in got for row in page["rows"])
    assert digest_of_states(held) == as_digest(got[-1]["digest"])
    delta = await sync(there, tenant, member, since=got[-1]["cursor"], epoch=got[-1]["epoch"])
    assert delta["rows"] == []
    await there.execute("update orders set total = 1 where tenant_id = %s", [tenant])
    delta = await sync(there, tenant, member, since=got[-1]["cursor"], epoch=got[-1]["epoch"])
    assert {row["version"] for row in delta["rows"]} == {4}
    assert len(delta["rows"]) == 10


async def test_a_sync_runs_in_a_read_only_transaction(there: Connection, tenant: int) -> None:
    """As PostgREST calls a STABLE function."""
    async with there.transaction():
        await there.execute("set transaction read only")
        assert (await sync(there, tenant))["digest"]["count"] == 0
