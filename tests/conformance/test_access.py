"""Who may see a change, against Postgres itself: random tables, policies, users, rows, filters and values."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime_toolkit.stack.realtime import catalog, subscriptions
from realtime_toolkit.stack.realtime.access import Reader, ask, identifier, literal, visible_sql
from realtime_toolkit.stack.realtime.bindings import OPERATORS, Binding, BindingError, Filter
from realtime_toolkit.stack.realtime.rows import Pending, render_pending
from realtime_toolkit.stack.realtime.values import NULL, converter, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness import Harness

Connection = psycopg.AsyncConnection[Any]
Run = Callable[[Callable[[Connection], Coroutine[Any, Any, None]]], None]

RANDOM = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

USERS = [f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123"]
READERS = [
    *(Reader("authenticated", json.dumps({"sub": user, "role": "authenticated"})) for user in USERS),
    Reader("authenticated", json.dumps({"role": "authenticated", "tenant": 2})),
    Reader("anon", json.dumps({"role": "anon"})),
    Reader("service_role", json.dumps({"role": "service_role"})),
]
POLICIES = [
    "to authenticated using ((select auth.uid()) = owner)",
    "to authenticated using (auth.uid() = owner or tenant = 1)",
    "to public using (tenant = 3)",
    "to anon using (tenant is null)",
    "to authenticated using (tenant = ((select auth.jwt()) ->> 'tenant')::int)",
    "to authenticated using (exists (select from members m where m.tenant = t.tenant and m.who = auth.uid()))",
    "as restrictive to public using (owner is not null)",
    "to authenticated using (body like 'a%')",
]
KEYS = {"id int": "int", "id bigint": "big", "id uuid": "uuid", "id text": "text", "id numeric": "int"}


@pytest.fixture
def run(harness: Harness) -> Iterator[Run]:
    """Run a coroutine function on a connection to a database of its own."""
    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        database = harness.database()
        dsn = runner.run(database.__aenter__())
        stack.callback(lambda: runner.run(database.__aexit__(None, None, None)))
        connection = runner.run(
            psycopg.AsyncConnection.connect(dsn, autocommit=True, options="-c timezone=UTC")
        )
        stack.callback(lambda: runner.run(connection.close()))
        yield lambda test: runner.run(test(connection))


# --- row level security -----------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
    values: dict[str, st.SearchStrategy[Any]] = {
        "int": st.integers(-(2**31), 2**31 - 1),
        "big": st.integers(-(2**63), 2**63 - 1),
        "uuid": st.uuids().map(str),
        "text": texts,
    }
    columns = draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=2))
    named = [f"k{index} {column.split()[1]}" for index, column in enumerate(columns)]
    keys = draw(
        st.lists(
            st.tuples(*(values[KEYS[column]] for column in columns)), min_size=1, max_size=6, unique=True
        )
    )
    rows = [
        (key, draw(st.none() | st.sampled_from(USERS)), draw(st.none() | st.integers(1, 3)), draw(texts))
        for key in keys
    ]
    return {
        "key": named,
        "rows": rows,
        "policies": draw(st.lists(st.sampled_from(POLICIES), max_size=4, unique=True)),
        "members": draw(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(USERS)), max_size=3)),
        "gone": draw(st.integers(0, 2)),
    }


async def make(connection: Connection, made: dict[str, Any]) -> int:
    names = [column.split()[0] for column in made["key"]]
    await connection.execute(
        "drop table if exists t, members; create table members (tenant int, who uuid);"
        "grant select on members to anon, authenticated;"
        f"create table t ({', '.join(made['key'])}, owner uuid, tenant int, body text, "
        f"primary key ({', '.join(names)}));"
        "alter table t enable row level security; grant select on t to anon, authenticated, service_role"
    )
    for number, policy in enumerate(made["policies"]):
        permissive, rest = ("as restrictive ", policy[15:]) if policy.startswith("as r") else ("", policy)
        await connection.execute(f"create policy p{number} on t {permissive}for select {rest}".encode())
    for tenant, who in made["members"]:
        await connection.execute("insert into members values (%s, %s)", [tenant, who])
    for key, owner, tenant, body in made["rows"]:
        marks = ", ".join(["%s"] * (len(key) + 3))
        await connection.execute(f"insert into t values ({marks})", [*key, owner, tenant, body])
    for key, *_ in made["rows"][: made["gone"]]:
        where = " and ".join(f"{name} = %s" for name in names)
        await connection.execute(f"delete from t where {where}".encode(), list(key))
    row = await (await connection.execute("select 't'::regclass::oid::int8")).fetchone()
    assert row is not None
    return int(row[0])


async def selected(connection: Connection, reader: Reader, names: list[str], key: tuple[Any, ...]) -> bool:
    """What Postgres shows this user of this row, asked in the plainest way."""
    async with connection.transaction(force_rollback=True):
        await connection.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            [reader.role, reader.claims],
        )
        where = " and ".join(f"{identifier(name)} = %s" for name in names)
        return (await connection.execute(f"select from t where {where}".encode(), list(key))).rowcount == 1


@given(made=tables())
@RANDOM
def test_exactly_the_rows_that_a_select_by_key_shows(run: Run, made: dict[str, Any]) -> None:
    async def check(connection: Connection) -> None:
        oid = await make(connection, made)
        roles = {reader.role for reader in READERS}
        table = (await catalog.tables(connection, [oid], roles))[oid]
        keys = [key for key, *_ in made["rows"]]
        texts = [[str(part) for part in key] for key in keys]
        answers = await ask(connection, [visible_sql(reader, table, texts) for reader in READERS])
        for reader, answer in zip(READERS, answers, strict=True):
            shown = [await selected(connection, reader, list(table.key), key) for key in keys]
            assert [index in answer for index in range(len(keys))] == shown, reader

    run(check)


def test_a_policy_that_raises_fails_the_question_and_only_for_the_rows_asked_for(run: Run) -> None:
    async def check(connection: Connection) -> None:
        await connection.execute(
            "create table t (id int primary key, d int); insert into t values (1, 1), (2, 0), (3, 1);"
            "alter table t enable row level security; grant select on t to authenticated;"
            "create policy p on t for select to authenticated using (1 / d > 0); analyze t"
        )
        row = await (await connection.execute("select 't'::regclass::oid::int8")).fetchone()
        assert row is not None
        table = (await catalog.tables(connection, [row[0]], ["authenticated"]))[row[0]]
        assert await ask(connection, [visible_sql(READERS[0], table, [["1"], ["3"], ["4"]])]) == [{0, 1}]
        with pytest.raises(psycopg.errors.DivisionByZero):
            await ask(connection, [visible_sql(READERS[0], table, [["1"], ["2"]])])

    run(check)


# --- filters ----------------------------------------------------------------------------------------

TYPES: dict[str, st.SearchStrategy[str]] = {
    "integer": st.integers(-5, 5).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "numeric": st.decimals(-100, 100, places=2).map(str) | st.sampled_from(["1.0", "1.00", "-0", "NaN"]),
    "double precision": st.floats(allow_nan=True).map(str).map(lambda text: text.replace("inf", "Infinity")),
    "text": st.text(st.sampled_from("abAB%_,é "), max_size=4),
    "character varying": st.text(st.sampled_from("abAB%_"), max_size=4),
    "boolean": st.sampled_from(["true", "false", "t", "f", "yes", "0"]),
    "uuid": st.sampled_from([*USERS, USERS[0].upper()]),
    "date": st.dates().map(str) | st.just("infinity"),
    "timestamp with time zone": st.datetimes().map(lambda moment: f"{moment}+02"),
    "jsonb": st.sampled_from(['{"a": 1}', '{"a":1.0}', "5", "[1]"]),
}


@st.composite
def filters(draw: st.DrawFn) -> tuple[str, Filter, list[str | None]]:
    type_ = draw(st.sampled_from(sorted(TYPES)))
    value = TYPES[type_]
    operator = draw(st.sampled_from(OPERATORS))
    if operator == "in":
        quoted = [json.dumps(item, ensure_ascii=False) for item in draw(st.lists(value, max_size=3))]
        wanted = "{" + ",".join(quoted) + "}"
    elif operator == "is":
        wanted = draw(st.sampled_from(["null", "true", "false", "unknown"]))
    else:
        wanted = draw(value)
    return (
        type_,
        Filter("c", operator, wanted, draw(st.booleans())),
        draw(st.lists(st.none() | value, max_size=5)),
    )


@given(drawn=filters())
@settings(RANDOM, max_examples=150)
def test_filters_decide_as_the_database_would(run: Run, drawn: tuple[str, Filter, list[str | None]]) -> None:
    type_, filter_, values = drawn

    async def check(connection: Connection) -> None:
        await connection.execute(
            f"drop table if exists t cascade; create table t (id int primary key, c {type_})"
        )
        await connection.execute("alter publication supabase_realtime add table t")
        await connection.execute("grant select on t to authenticated")
        try:
            binding = Binding("*", "public", "t", (filter_,))
            (subscription,) = await subscriptions.subscribe(connection, binding, "authenticated")
        except BindingError:
            return  # the type has no such operator, or the value is not of it
        (condition,) = subscription.conditions
        texts = [None if value is None else await _shown(connection, value, type_) for value in values]
        plain = [await _decided(connection, condition.filter, text, type_) for text in texts]
        if condition.test is not None:
            assert [condition.test(text) for text in texts] == plain
        if filter_.operator != "is" and (known := [text for text in texts if text is not None]):
            (answer,) = await ask(connection, [condition.sql(known)])
            expected = [decided for decided, text in zip(plain, texts, strict=True) if text is not None]
            assert [index in answer for index in range(len(known))] == expected

    run(check)


async def _shown(connection: Connection, value: str, type_: str) -> str | None:
    """The value's text as it is compared: out of its JSON."""
    query = f"select to_jsonb({literal(value)}::{type_}) #>> '{{}}'"
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return None if row[0] in ("NaN", "Infinity", "-Infinity") else row[0]


async def _decided(connection: Connection, filter_: Filter, text: str | None, type_: str) -> bool:
    left = "null" if text is None else literal(text)
    right, operator = f"{literal(filter_.value)}::{type_}", filter_.operator
    symbols = {"eq": "=", "neq": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
    symbols |= {
        "like": "like",
        "ilike": "ilike",
        "match": "~",
        "imatch": "~*",
        "isdistinct": "is distinct from",
    }
    if operator == "in":
        expression = f"{left}::{type_} = any ({literal(filter_.value)}::{type_}[])"
    elif operator == "is":
        expression = f"{left}::{type_} is {filter_.value}"
    else:
        expression = f"{left}::{type_} {symbols[operator]} {right}"
    negated = f"not ({expression})" if filter_.negated else expression
    row = await (await connection.execute(f"select coalesce({negated}, false)".encode())).fetchone()
    assert row is not None
    return bool(row[0])


# --- values -----------------------------------------------------------------------------------------

VALUES: dict[str, st.SearchStrategy[str]] = {
    **TYPES,
    "real": st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    "double precision": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: format(number, "f")),
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    "json": st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('ab"\\\n\té')),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
        ),
    ).map(json.dumps),
    "timestamp without time zone": st.datetimes().map(str)
    | st.sampled_from(["infinity", "0044-03-15 12:00 BC"]),
    "time with time zone": st.times().map(lambda moment: f"{moment}+02"),
    "interval": st.timedeltas().map(lambda span: f"{span.days} days {span.seconds} seconds"),
    "integer[]": st.lists(st.integers(-9, 9), max_size=4).map(
        lambda items: "{" + ",".join(map(str, items)) + "}"
    ),
    "text[]": st.lists(st.text(st.sampled_from('ab"\\{},NUL é\n')), max_size=4).map(
        lambda items: (
            "{" + ",".join(json.dumps(item, ensure_ascii=False).replace("\\n", "\n") for item in items) + "}"
        )
    ),
    "int4range": st.integers(0, 9).map(lambda number: f"[{number},{number + 3})"),
    "public.mood": st.sampled_from(["sad", "so happy"]),
    "public.small": st.integers(-9, 9).map(str),
    "public.pair": st.integers(-9, 9).map(lambda number: f'({number},"a, b")'),
    "public.pair[]": st.just('{"(1,x)"}'),
    "character": st.sampled_from("ab"),
    "inet": st.just("10.0.0.1/8"),
    "xid8": st.integers(0, 2**63).map(str),
}


@given(data=st.data(), type_=st.sampled_from(sorted(VALUES)))
@settings(RANDOM, max_examples=250)
def test_values_are_shown_as_to_jsonb_shows_them(run: Run, data: st.DataObject, type_: str) -> None:
    values = data.draw(st.lists(VALUES[type_], min_size=1, max_size=4))

    async def check(connection: Connection) -> None:
        await connection.execute(
            "do $$ begin create type public.mood as enum ('sad', 'so happy'); create domain public.small as int;"
            "create type public.pair as (n int, t text); exception when duplicate_object then null; end $$"
        )
        await connection.execute(f"drop table if exists v; create table v (id int primary key, c {type_})")
        row = await (await connection.execute("select 'v'::regclass::oid::int8")).fetchone()
        assert row is not None
        column = (await catalog.tables(connection, [row[0]], []))[row[0]].column("c")
        convert = converter(column.type)
        for value in values:
            query = f"select format('%s', v), to_jsonb(v)::text from (select {literal(value)}::{type_}) _ (v)"
            texts = await (await connection.execute(query.encode())).fetchone()  # format: the output function
            assert texts is not None
            written, shown = texts[0].encode(), texts[1].encode()
            if convert is None:
                target: dict[str, bytes] = {}
                await render_pending(connection, [Pending(target, "c", column.sql_type, written)])
                assert target["c"] == shown
            else:
                assert json.loads(convert(written), parse_float=str) == json.loads(shown, parse_float=str)
                assert text_of(convert(written)) is not None or convert(written) == NULL

    run(check)
