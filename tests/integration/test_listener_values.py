"""The copy has the database's values, whatever Realtime makes of them on the way (the stack makes the same of them)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from realtime_toolkit.events import Lost, State, StateChanged
from realtime_toolkit.model import RowRef, Scope, SyncedRow
from realtime_toolkit.store import RestStore
from tests.integration.acting import new_id
from tests.integration.following import PATIENT, Heard, following

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_toolkit.follow.listener import Listener
    from realtime_toolkit.stack import LocalStack
    from tests.integration.acting import Connection

SCOPE = Scope("odd_values", "1")
TYPES = """
create type {schema}.mood as enum ('sad', 'ok', 'hap"py');
create type {schema}.pair as (code char(3), at timestamptz, n numeric);
create domain {schema}.currency as char(3);
create domain {schema}.ratio as numeric check (value is not null or true);
create domain {schema}.blob as bytea;
create domain {schema}.feeling as {schema}.mood;
create domain {schema}.amounts as numeric[];
"""

VALUES: dict[str, list[str | None]] = {
    "int2": ["-32768", None],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "numeric": [
        "NaN",
        "Infinity",
        "-Infinity",
        "1.5000",
        "1e-30",
        "1e500",
        "123456789012345678901234567890.5",
        None,
    ],
    "numeric(12,4)": ["-0.0001", "0", "NaN"],
    "float4": ["NaN", "3.14", "1e-37", "-Infinity"],
    "float8": ["Infinity", "1e308", "5e-324", "2.718281828459045", "-0"],
    "bool": ["t", "f"],
    "text": ["", "null", 'héllo "q" \\ / \ttab\nnl 😀\u2028\u007f', None],
    "varchar(20)": ["varch ", "  "],
    "char(5)": ["ch", "  x", None],
    "char": ["c", " "],
    '"char"': ["x", ""],
    "name": ["nm"],
    "uuid": ["11111111-1111-1111-1111-111111111111"],
    "date": ["2024-02-29", "infinity", "-infinity", "0044-03-15 BC"],
    "time": ["13:14:15.123456", "24:00:00"],
    "timetz": ["13:14:15.123456+02"],
    "timestamp": [
        "2024-02-29 13:14:15.123456",
        "infinity",
        "-infinity",
        "0001-01-01 00:00:00",
        "4713-01-01 00:00:00 BC",
    ],
    "timestamptz": [
        "2024-02-29 13:14:15.1+02",
        "infinity",
        "99999-12-31 23:59:59+00",
        "0044-03-15 00:00:00+00 BC",
    ],
    "interval": ["1 year 2 mons 3 days 04:05:06.789", "-3 days", "0", "1 mon -1 day +01:00:00"],
    "bytea": ["\\xdeadbeef", "", "\\x5c78", None],
    "bytea[]": ['{"\\\\xff00",NULL,""}', "{}", '{{"\\\\x01"},{"\\\\x02"}}'],
    "json": [
        '{"b": 1,  "a": [1,2]}',
        "null",
        '"s"',
        '{"a": 1, "a": 2}',
        "[1e2, 1.50]",
        '{"$decimal": "1.5"}',
    ],
    "jsonb": [
        '{"a": 1e400, "b": 0.10}',
        "null",
        '"s"',
        "12345678901234567890123",
        "[[[[]]]]",
        '{"$decimal": "x"}',
    ],
    "jsonb[]": ['{"{\\"a\\": 1.50}",NULL}'],
    "money": ["12.34", "-1"],
    "inet": ["10.0.0.1/8", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "bit(4)": ["1010", "0000", None],
    "bit": ["1"],
    "varbit": ["101", ""],
    "oid": ["42", "4294967295"],
    "regclass": ["pg_class"],
    "point": ["(1,2)"],
    "box": ["(1,2),(0,0)"],
    "circle": ["<(1,2),3>"],
    "tsvector": ["a fat cat"],
    "tsquery": ["a & !b"],
    "jsonpath": ["$.a"],
    "pg_lsn": ["16/B374D848"],
    "xid8": ["18446744073709551615"],
    "int4range": ["[1,5)", "empty", "(,)"],
    "numrange": ["[1.50,Infinity)"],
    "tstzrange": ["[2024-01-01,2024-02-01)"],
    "int4multirange": ["{[1,3),[5,7)}", "{}"],
    "int4[]": ["{1,2,NULL}", "{}", "{{1,2},{3,4}}", "[0:1]={7,8}"],
    "text[]": ['{a,"b c","d\\"e",NULL,"NULL",""}'],
    "bool[]": ["{t,f}"],
    "numeric[]": ["{NaN,1.50,NULL}", "{{1},{Infinity}}", "{1.5}"],
    "float8[]": ["{-Infinity,0.1}"],
    "char(3)[]": ["{ab,c,NULL}"],
    "bit(2)[]": ["{10,01}"],
    "timestamptz[]": ["{2024-01-01T00:00:00Z,infinity}"],
    "interval[]": ['{"1 day","-2 mons"}'],
    "uuid[]": ["{11111111-1111-1111-1111-111111111111}"],
    "{schema}.mood": ["sad", 'hap"py'],
    "{schema}.mood[]": ["{sad,ok}"],
    "{schema}.pair": ["(EUR,2024-01-01T00:00:00Z,NaN)", "(,,)"],
    "{schema}.pair[]": ['{"(EUR,,1.50)"}'],
    "{schema}.currency": ["EUR", "x"],
    "{schema}.currency[]": ["{EUR}"],
    "{schema}.ratio": ["NaN", "1.50"],
    "{schema}.blob": ["\\x00ff", ""],
    "{schema}.blob[]": ['{"\\\\x00ff"}'],
    "{schema}.feeling": ["ok"],
    "{schema}.feeling[]": ["{ok}"],
    "{schema}.amounts": ["{NaN,1.5}", "{1.5}"],
}


class Values:
    """A tracked table with a column for each type."""

    def __init__(self, db: Connection, schema: str, types: list[str]) -> None:
        self.db, self.schema = db, schema
        self.table = f"{schema}.odd"
        self.columns = {f"c{n}": type_.format(schema=schema) for n, type_ in enumerate(types)}

    async def make(self) -> None:
        columns = "".join(f", {name} {type_}" for name, type_ in self.columns.items())
        await self.db.execute(f"create schema {self.schema}; " + TYPES.format(schema=self.schema))
        await self.db.execute(f"create table {self.table} (id int primary key, scope int not null{columns})")
        await self.db.execute(
            f"grant usage on schema {self.schema} to authenticated; grant select on {self.table} to authenticated;"
            f"alter table {self.table} enable row level security;"
            f"create policy p on {self.table} for select to authenticated using (true)"
        )
        await self.db.execute("select public.track_table(%s::regclass, 'odd_values', 'scope')", [self.table])

    async def drop(self) -> None:
        await self.db.execute(f"select public.untrack_table('{self.table}'::regclass)")
        await self.db.execute(f"drop schema {self.schema} cascade")

    async def insert(self, id: int, **values: str | None) -> None:
        names = "".join(f", {name}" for name in values)
        places = "".join(f", %s::text::{self.columns[name]}" for name in values)
        statement = f"insert into {self.table} (id, scope{names}) values (%s, 1{places})"
        await self.db.execute(statement, [id, *values.values()])

    async def update(self, id: int, **values: str | None) -> None:
        sets = ", ".join(f"{name} = %s::text::{self.columns[name]}" for name in values)
        await self.db.execute(f"update {self.table} set {sets} where id = %s", [*values.values(), id])


@pytest.fixture
async def odd(db: Connection, request: pytest.FixtureRequest) -> AsyncIterator[Values]:
    made = Values(db, f"odd_{new_id()[:8]}", getattr(request, "param", list(VALUES)))
    await made.make()
    yield made
    await made.drop()


async def equal(stack: LocalStack, user: str, listener: Listener, heard: Heard, count: int) -> None:
    """When no key is in doubt any more, the copy is what the database shows; nothing else has compared them."""
    async with RestStore(stack.url, stack.anon_key, token=lambda: stack.token(user)) as source:
        truth = {RowRef(row.table, row.key): row for row in (await source.rows(SCOPE, ("",)))[1]}
    assert len(truth) == count
    await heard.until(lambda: all(_has(listener, row) for row in truth.values()))
    for ref, row in truth.items():
        assert listener.replica.row(ref.table, ref.key) == row.row


def _has(listener: Listener, row: SyncedRow) -> bool:
    ref = RowRef(row.table, row.key)
    held = listener.replica.held(ref)
    return (
        held is not None
        and held.state == (row.version, row.changed_in)
        and ref not in listener.replica.doubts
    )


def distrusted(heard: Heard) -> list[str]:
    """Why ``synced`` was taken back on account of what came."""
    reasons = [event.reason for event in heard.of(StateChanged)]
    return [reason for reason in reasons if "withheld" in reason or "frame" in reason or "differ" in reason]


async def test_every_type_arrives_as_the_database_shows_it(
    stack: LocalStack, db: Connection, user: str, odd: Values
) -> None:
    async with following(stack, user, SCOPE, timing=PATIENT) as (listener, heard):
        values = list(zip(odd.columns, VALUES.values(), strict=True))
        most = max(map(len, VALUES.values()))
        for n in range(most):
            await odd.insert(n, **{name: each[n % len(each)] for name, each in values})
        await equal(stack, user, listener, heard, most)
        for n in range(most):
            await odd.update(n, **{name: each[(n + 1) % len(each)] for name, each in values})
        await equal(stack, user, listener, heard, most)
        assert not distrusted(heard), "a value that is asked for takes nothing back"
        assert listener.stats.unreadable == 0
        assert heard.wrong == []
        assert listener.state is State.SYNCED


ALTERED = ("char(", "bit(", "pair", "currency")
QUIET = [type_ for type_ in VALUES if type_ == "varchar(20)" or not any(part in type_ for part in ALTERED)]


SURE = dict.fromkeys(("numeric", "numeric(12,4)", "float4", "float8", "{schema}.ratio"), "1.50")
SURE |= dict.fromkeys(("numeric[]", "float8[]", "{schema}.amounts"), "{1.5}")


@pytest.mark.parametrize("odd", [QUIET], indirect=True)
async def test_values_that_arrive_as_they_are_are_not_asked_for(
    stack: LocalStack, db: Connection, user: str, odd: Values
) -> None:
    async with following(stack, user, SCOPE, timing=PATIENT) as (listener, heard):
        values = [[SURE[type_]] if type_ in SURE else VALUES[type_] for type_ in QUIET]
        most = max(map(len, values))
        for n in range(most):
            columns = zip(odd.columns, values, strict=True)
            await odd.insert(n, **{name: each[n % len(each)] for name, each in columns})
        await equal(stack, user, listener, heard, most)
        assert heard.via == {"live": most}


NUMBERS = [
    *("9" * 5000, "-" + "1" * 5000, "1" * 4999 + ".5", "9" * 131072),
    '{"a": [' + "7" * 20000 + "]}",
]


@pytest.mark.parametrize("odd", [["jsonb", "numeric"]], indirect=True)
async def test_numbers_of_any_length_arrive_with_all_their_digits(
    stack: LocalStack, db: Connection, user: str, odd: Values
) -> None:
    async with following(stack, user, SCOPE, timing=PATIENT) as (listener, heard):
        for n, number in enumerate(NUMBERS):
            await odd.insert(n, c0=number, c1=None if "{" in number else number)
        await equal(stack, user, listener, heard, len(NUMBERS))
        assert listener.stats.unreadable == 0
        await listener.resync()
        assert heard.of(Lost) == []


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("odd", [["jsonb", "text"]], indirect=True)
@pytest.mark.parametrize("levels", [700, 3000])
async def test_a_row_nested_too_deep_is_named_and_the_rest_goes_on(
    stack: LocalStack, db: Connection, user: str, odd: Values, levels: int
) -> None:
    lost = RowRef(odd.table, "[2]")
    async with following(stack, user, SCOPE, timing=PATIENT) as (listener, heard):
        await odd.insert(1, c1="before")
        await odd.insert(2, c0=deep(levels), c1="deep")
        await odd.insert(3, c1="after")
        await heard.until(lambda: bool(heard.of(Lost)))
        assert heard.of(Lost)[0].rows == (lost,)
        assert "nested deeper" in heard.of(Lost)[0].reason
        await heard.row(lambda event: event.change.key == "[3]")
        assert not distrusted(heard)
        await listener.resync()
        assert listener.state is State.SYNCED
        assert listener.replica.row(*as_pair(lost)) is None
        assert listener.replica.agrees
    heard = Heard()
    async with following(stack, user, SCOPE, heard, timing=PATIENT) as (listener, _):
        assert [event.rows for event in heard.of(Lost)] == [(lost,)]
        assert listener.replica.rows(odd.table).keys() == {"[1]", "[3]"}
        await odd.update(2, c0="[]")
        mended: Any = await heard.row(lambda event: event.change.key == "[2]")
        assert mended.change.row["c0"] == []
        assert listener.replica.row(*as_pair(lost)) == mended.change.row


def as_pair(ref: RowRef) -> tuple[str, str]:
    return ref.table, ref.key


KEYS = ["1.50", "1000", "-0.0000001", "9" * 5000, "1" * 4301 + ".10"]


@pytest.mark.parametrize("odd", [["text"]], indirect=True)
async def test_a_key_of_any_length_is_the_same_on_both_sides(
    stack: LocalStack, db: Connection, user: str, odd: Values
) -> None:
    table = f"{odd.schema}.keyed"
    await db.execute(
        f"create table {table} (id numeric primary key, scope int not null);"
        f"alter table {table} enable row level security; grant select on {table} to authenticated;"
        f"create policy p on {table} for select to authenticated using (true);"
        f"select public.track_table('{table}'::regclass, 'odd_values', 'scope')"
    )
    async with following(stack, user, SCOPE, timing=PATIENT) as (listener, heard):
        for key in KEYS:
            await db.execute(f"insert into {table} values (%s::text::numeric, 1)", [key])
        await equal(stack, user, listener, heard, len(KEYS))
        assert {ref.key for ref in listener.replica} == {f"[{key}]" for key in KEYS}
        await listener.resync()
        assert listener.replica.agrees
        await db.execute(f"delete from {table}")
        await heard.until(lambda: not heard.rows)
        assert heard.via == {"live": 2 * len(KEYS)}
    await db.execute(f"select public.untrack_table('{table}'::regclass)")
