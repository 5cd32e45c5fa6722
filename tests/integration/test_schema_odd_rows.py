"""Rows and tables that are legal and odd: one of them is named, the rest of its scope goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from realtime_toolkit.model import Digest, Scope, key_hash, row_hash
from realtime_toolkit.store import PostgresStore
from tests.integration.acting import Connection, Row, call, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCOPE = Scope("odd_kind", "1")


@pytest.fixture
async def table(there: Connection) -> AsyncIterator[str]:
    name = f"public.odd_{new_id()[:8]}"
    yield name
    await there.execute(
        f"select public.untrack_table(%s::regclass); drop table {name}".replace("%s", f"'{name}'")
    )


async def make(db: Connection, table: str, columns: str) -> None:
    await db.execute(f"create table {table} (id int primary key, scope int not null, {columns})")
    await db.execute(f"alter table {table} enable row level security")
    await db.execute(f"grant select on {table} to authenticated")
    await db.execute(f"create policy p on {table} for select to authenticated using (true)")
    await db.execute("select public.track_table(%s::regclass, 'odd_kind', 'scope')", [table])


async def synced(db: Connection, **arguments: Any) -> Row:
    page: Row = await call(db, "sync_scope", new_id(), kind="odd_kind", value="1", **arguments)
    return page


async def fetched(db: Connection, *prefixes: str, **arguments: Any) -> Row:
    found: Row = await call(
        db, "rows_scope", new_id(), kind="odd_kind", value="1", prefixes=list(prefixes), **arguments
    )
    return found


@pytest.mark.parametrize("columns", ["t text, r text", "t int, r int", "t jsonb", '"t.*" text, t text'])
async def test_a_column_may_be_called_as_the_queries_call_the_table(
    there: Connection, table: str, columns: str
) -> None:
    await make(there, table, columns)
    await there.execute(f"insert into {table} (id, scope) values (1, 1)")
    (row,) = (await synced(there))["rows"]
    assert row["row"]["id"] == 1
    assert "t" in row["row"]
    await there.execute(f"revoke select on {table} from authenticated")
    await there.execute(f"grant select (id, scope, t, version, changed_in) on {table} to authenticated")
    (row,) = (await fetched(there, ""))["rows"]
    assert row["row"].keys() == {"id", "scope", "t", "version", "changed_in"}


@pytest.mark.parametrize(
    ("type_", "poison", "reason"),
    [
        ("json", r'{"a": "x\u0000y"}', "Unicode"),
        ("json", r'"\ud800"', "invalid input syntax"),
        ("json", "1e999999", "overflow"),
        ("json[]", r'{"\"\\u0000\""}', "Unicode"),
    ],
)
async def test_a_row_that_is_no_jsonb_is_named_and_the_rest_goes_on(
    there: Connection, table: str, type_: str, poison: str, reason: str
) -> None:
    await make(there, table, f"v {type_}")
    await there.execute(f"insert into {table} (id, scope) values (1, 1), (3, 1)")
    await there.execute(f"insert into {table} (id, scope, v) values (2, 1, %s)", [poison])
    page = await synced(there)
    for rows in (page["rows"], (await fetched(there, ""))["rows"]):
        shown = {row["key"]: row for row in rows}
        assert shown.keys() == {"[1]", "[2]", "[3]"}
        assert shown["[2]"]["row"] is None
        assert reason in shown["[2]"]["error"]
        assert shown["[3]"]["row"]["id"] == 3
        assert "error" not in shown["[3]"]
    assert page["digest"]["count"] == 3
    small = await synced(there, page_size=2)
    assert [row["key"] for row in small["rows"]] == ["[1]", "[2]"]
    assert small["more"]


async def test_a_policy_that_raises_is_no_odd_row(there: Connection, table: str) -> None:
    await make(there, table, "v int")
    await there.execute(
        f"create policy q on {table} as restrictive for select to authenticated using (1 / v > 0)"
    )
    await there.execute(f"insert into {table} (id, scope, v) values (1, 1, 0)")
    with pytest.raises(psycopg.errors.DivisionByZero):
        await synced(there)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await fetched(there, "")


async def test_rows_come_in_parts_of_a_bounded_size(there: Connection, table: str, elsewhere: str) -> None:
    """150 KB each, 30 MB in all: what becomes visible at once must not have to be sent at once."""
    await make(there, table, "body text")
    await there.execute(
        f"insert into {table} select n, 1, repeat('x', 150000) from generate_series(1, 200) n"
    )
    name = table.removeprefix("public.")
    places = sorted(key_hash(f"public.{name}", f"[{n}]") for n in range(1, 201))
    part = await fetched(there, *sorted({place[:2] for place in places}))
    assert 40 < len(part["rows"]) < 70
    assert part["left"]
    answered = {place for place in places if not place.startswith(tuple(part["left"]))}
    assert {key_hash(row["table"], row["key"]) for row in part["rows"]} == answered
    assert (await fetched(there, ""))["left"] == [""]
    only_keys = await fetched(there, "", keys_only=True)
    assert (len(only_keys["rows"]), only_keys["left"]) == (200, [])
    async with PostgresStore(elsewhere) as store:
        _, rows = await store.rows(SCOPE, ("",))
    assert {row.key for row in rows} == {f"[{n}]" for n in range(1, 201)}
    assert all(row.row and len(row.row["body"]) == 150000 for row in rows)


async def test_a_row_above_what_can_be_sent_is_named(there: Connection, table: str) -> None:
    await make(there, table, "body text")
    await there.execute(f"insert into {table} values (1, 1, repeat('x', 70000000)), (2, 1, 'small')")
    shown = {row["key"]: row for row in (await synced(there))["rows"]}
    assert "too large" in shown["[1]"]["error"]
    assert shown["[2]"]["row"]["body"] == "small"


async def test_columns_whose_values_change_on_the_way_are_told(there: Connection, table: str) -> None:
    await there.execute(
        "create domain public.odd_code as char(3); create domain public.odd_codes as char(2)[];"
        "create type public.odd_pair as (a int, b text); create domain public.odd_rate as numeric(5, 2)"
    )
    try:
        await make(
            there,
            table,
            "c1 char(1), c3 char(3), c_any bpchar, d odd_code, da odd_codes, b1 bit(1), b4 bit(4), v varchar(3), "
            "pair odd_pair, pairs odd_pair[], n numeric(5, 2), r odd_rate, f real, fs float8[], i int, j jsonb",
        )
        (told,) = await call(there, "tracked_tables", new_id(), kind="odd_kind")
    finally:
        await there.execute(f"select public.untrack_table('{table}'::regclass); drop table {table}")
        await there.execute("drop domain odd_code, odd_codes, odd_rate; drop type odd_pair")
        await there.execute(f"create table {table} (id int)")
        await there.execute(f"alter table {table} enable row level security")
    assert told["altered"] == ["c3", "c_any", "d", "da", "b4", "pair", "pairs"]
    assert told["nulled"] == ["n", "r", "f", "fs"]


async def test_other_columns_or_rights_are_another_epoch(there: Connection, table: str) -> None:
    await make(there, table, "v text")
    await there.execute(f"insert into {table} (id, scope) values (1, 1)")
    page = await synced(there)
    assert not (await synced(there, since=page["cursor"], epoch=page["epoch"]))["full"]
    await there.execute(f"alter table {table} add column n int not null default 7")
    again = await synced(there, since=page["cursor"], epoch=page["epoch"])
    assert again["full"]
    assert again["rows"][0]["row"]["n"] == 7
    await there.execute(f"revoke select on {table} from authenticated")
    await there.execute(f"grant select (id, scope, version, changed_in) on {table} to authenticated")
    assert (await synced(there, since=again["cursor"], epoch=again["epoch"]))["full"]


async def test_a_digest_with_a_salt_is_the_same_in_python(there: Connection, table: str) -> None:
    await make(there, table, "v text")
    await there.execute(f"insert into {table} (id, scope) select n, 1 from generate_series(1, 50) n")
    rows = (await synced(there))["rows"]
    for salt in ("", "a", "Z9" * 32):
        found = await call(
            there, "digest_scope", new_id(), kind="odd_kind", value="1", prefixes=[""], salt=salt
        )
        total = Digest()
        for row in rows:
            total = total.plus(
                row_hash(row["table"], row["key"], row["version"], int(row["changed_in"]), salt)
            )
        counts = sum(bucket["count"] for bucket in found["buckets"])
        assert Digest(counts, sum(int(b["total"]) for b in found["buckets"]) % 2**64) == total


@pytest.mark.parametrize("salt", ["x" * 65, "a'b", "a b", "ü", "\x1f"])
async def test_what_is_no_salt_is_refused(there: Connection, table: str, salt: str) -> None:
    await make(there, table, "v text")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="a salt is"):
        await call(there, "digest_scope", new_id(), kind="odd_kind", value="1", prefixes=[""], salt=salt)


@pytest.mark.parametrize("function", ["digest_scope", "rows_scope"])
async def test_nobody_asks_for_everything_at_once(there: Connection, table: str, function: str) -> None:
    await make(there, table, "v text")
    many = [f"{n:05x}" for n in range(5001)]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="at most 5000"):
        await call(there, function, new_id(), kind="odd_kind", value="1", prefixes=many)


async def test_a_glance_tells_what_it_cost_and_when_a_slot_is_lost(there: Connection, table: str) -> None:
    await make(there, table, "v text")
    await there.execute(f"insert into {table} (id, scope) values (1, 1)")
    seen = await call(there, "glance_scope", new_id(), kind="odd_kind", value="1")
    page = await synced(there)
    assert (seen["digest"], seen["epoch"]) == (page["digest"], page["epoch"])
    assert 0 < float(seen["ms"]) < 1000
    assert (await call(there, "glance_scope", new_id(), kind="odd_kind", value="1", whole=False))[
        "digest"
    ] is None
    name = f"odd_{new_id()[:8]}"
    await there.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
    try:
        other = await call(there, "glance_scope", new_id(), kind="odd_kind", value="1", whole=False)
    finally:
        await there.execute("select pg_drop_replication_slot(%s)", [name])
    assert other["pulse"] != seen["pulse"]
