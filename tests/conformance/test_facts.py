"""What was seen of the genuine server and stands in FACTS.md, but in no recording."""

from __future__ import annotations

import asyncio
import datetime
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from realtime_toolkit.phoenix import Vsn
from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack.realtime.app import RealtimeServer
from realtime_toolkit.stack.realtime.limits import Limits
from realtime_toolkit.stack.realtime.pace import Pace
from tests.conformance.harness import SECRET, Served, serve
from tests.conformance.talk import SUBSCRIBED, Talk, talk
from tests.conformance.test_python_clients import A, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conformance.harness import Harness

SCHEMA = """
create table public.things (id int primary key, scope text, t text);
grant all on public.things to anon, authenticated, service_role;
alter table public.things enable row level security;
create policy all_of_them on public.things using (true);
create table public.others (id int primary key);
grant all on public.others to anon, authenticated, service_role;
alter publication supabase_realtime add table public.things, public.others;
create policy read_broadcasts on realtime.messages for select to authenticated
  using (realtime.topic() like 'room:%' and extension = 'broadcast');
create policy read_presence on realtime.messages for select to authenticated
  using (extension = 'presence');
"""
TOPIC = "realtime:things"
TOKEN = mint_token(SECRET, A)


@pytest.fixture
async def served(harness: Harness) -> AsyncIterator[Served]:
    pace = Pace(publication_check=0.2)
    async with harness.server(SCHEMA, pace=pace, limits=Limits.generous()) as served:
        yield served


def things(**more: Any) -> dict[str, Any]:
    return {"event": "*", "schema": "public", "table": "things", **more}


async def subscribe(talking: Talk, *bindings: dict[str, Any], topic: str = TOPIC) -> None:
    await talking.join(topic, TOKEN, postgres_changes=list(bindings))
    await talking.until(lambda: SUBSCRIBED in talking.system(topic))


def told(talking: Talk, topic: str = TOPIC) -> list[tuple[str, Any]]:
    """Kind and old record of the changes, or the id of the new one."""
    changes = [payload["data"] for payload in talking.payloads(topic, "postgres_changes")]
    return [
        (data["type"], data["old_record"] if data["type"] == "DELETE" else data["record"]["id"])
        for data in changes
    ]


async def up_to(served: Served, talking: Talk, number: int, topic: str = TOPIC) -> None:
    """Everything that was written before has been dealt with."""
    await execute(served, f"insert into things values ({number}, 'a', 'last')")
    await talking.until(lambda: ("INSERT", number) in told(talking, topic))


async def test_a_token_expires_on_time(served: Served) -> None:
    async with talk(served) as talking:
        exp = int(time.time()) + 2
        await talking.join(TOPIC, mint_token(SECRET, A, claims={"exp": exp}))
        await talking.join("realtime:stays", TOKEN)
        await talking.until(lambda: talking.payloads(TOPIC, "phx_close"))
        assert exp <= time.time() < exp + 0.5
        assert talking.system(TOPIC) == ["Token has expired 0 seconds ago"]
        await talking.beat()
        assert not talking.payloads("realtime:stays", "phx_close")


async def test_truncate_is_told_to_nobody(served: Served) -> None:
    async with talk(served) as talking:
        await subscribe(talking, things())
        await up_to(served, talking, 1)
        await execute(served, "truncate things")
        await up_to(served, talking, 2)
        assert told(talking) == [("INSERT", 1), ("INSERT", 2)]


async def test_equal_bindings_have_one_id_twice_in_one_frame(served: Served) -> None:
    async with talk(served) as talking:
        await subscribe(talking, things(), things())
        await up_to(served, talking, 1)
        (payload,) = talking.payloads(TOPIC, "postgres_changes")
        assert len(payload["ids"]) == 2
        assert len(set(payload["ids"])) == 1


async def test_a_table_no_longer_published_ends_its_subscription_for_good(served: Served) -> None:
    async with talk(served) as talking:
        await subscribe(talking, {"event": "*", "schema": "public", "table": "others"})
        await execute(served, "alter publication supabase_realtime drop table others")
        await talking.until(lambda: len(talking.system(TOPIC)) == 2)
        assert talking.system(TOPIC)[1].startswith("Unable to subscribe to changes with given parameters.")
        await subscribe(talking, things(), topic="realtime:witness")
        await execute(served, "alter publication supabase_realtime add table others")
        await talking.until(lambda: talking.system("realtime:witness").count(SUBSCRIBED) == 2)
        await execute(served, "insert into others values (1)")
        await up_to(served, talking, 1, "realtime:witness")
        assert talking.payloads(TOPIC, "postgres_changes") == []
        assert len(talking.system(TOPIC)) == 2


async def test_a_table_published_again_between_two_checks_goes_on(harness: Harness) -> None:
    async with harness.server(SCHEMA, pace=Pace(publication_check=60)) as served, talk(served) as talking:
        await subscribe(talking, things())
        for change in ("drop", "add"):
            await execute(served, f"alter publication supabase_realtime {change} table things")
        await up_to(served, talking, 1)
        assert talking.system(TOPIC) == [SUBSCRIBED]


@pytest.mark.parametrize(
    ("identity", "deleted"),
    [
        ("alter table things replica identity default", []),
        ("alter table things replica identity full", [("DELETE", {"id": 1})]),
        (
            "alter table things alter scope set not null; create unique index i on things (scope, id);"
            "alter table things replica identity using index i",
            [("DELETE", {"id": 1})],
        ),
        (
            "alter table things drop constraint things_pkey; alter table things add primary key (scope, id)",
            [("DELETE", {"id": 1, "scope": "a"})],
        ),
    ],
    ids=["default", "full", "index", "key"],
)
async def test_a_delete_under_a_filter(served: Served, identity: str, deleted: list[Any]) -> None:
    await execute(served, *identity.split(";"))
    async with talk(served) as talking:
        await subscribe(talking, things(filter="scope=eq.a"))
        await execute(served, "insert into things values (1, 'a', 'mine'), (2, 'b', 'not mine')")
        await talking.until(lambda: told(talking))
        await execute(served, "delete from things")
        await up_to(served, talking, 3)
        assert told(talking) == [("INSERT", 1), *deleted, ("INSERT", 3)]


@pytest.mark.parametrize(
    ("filter_", "ids"),
    [("id=in.()", []), ("t=not.is.null", [1]), ("  ", [1, 2]), ("t=neq.x", []), ("t=not.like.z%", [1])],
)
async def test_filters_and_nothing(served: Served, filter_: str, ids: list[int]) -> None:
    async with talk(served) as talking:
        await subscribe(talking, things(filter=filter_))
        await subscribe(talking, things(), topic="realtime:witness")
        await execute(served, "insert into things values (1, 'a', 'x'), (2, 'a', null)")
        await up_to(served, talking, 100, "realtime:witness")
        assert [id_ for id_ in talking.records(TOPIC) if id_ < 100] == ids


async def test_a_transaction_id_is_text(served: Served) -> None:
    await execute(served, "alter table things add changed_in xid8 default '7337'")
    async with talk(served) as talking:
        await subscribe(talking, things())
        await up_to(served, talking, 1)
        data = talking.payloads(TOPIC, "postgres_changes")[0]["data"]
        assert data["record"]["changed_in"] == "7337"
        assert data["columns"][-1] == {"name": "changed_in", "type": "xid8"}


GENERATED = """
create table public.made (
  "select" text generated always as (upper(t)) stored, id int primary key, t text,
  b boolean generated always as (id > 1) stored, n numeric(6, 2) generated always as (id / 3.0) stored,
  fixed char(5) generated always as (left(t, 2)) stored, v tsvector generated always as (to_tsvector('english', t)) stored,
  nothing int generated always as (nullif(id, id)) stored
);
grant all on made to authenticated;
alter publication supabase_realtime add table made
"""


@pytest.mark.parametrize("full", [False, True])
async def test_generated_columns(served: Served, full: bool) -> None:
    await execute(served, *GENERATED.split(";"))
    if full:
        await execute(served, "alter table made replica identity full")
        async with await psycopg.AsyncConnection.connect(served.dsn, autocommit=True) as database:
            if database.info.server_version >= 180000:  # else nobody could update the table
                await database.execute(
                    "alter publication supabase_realtime set (publish_generated_columns = stored)"
                )
    async with talk(served) as talking:
        binding = {"event": "*", "schema": "public", "table": "made", "filter": 'select=eq.SAY "HI"'}
        await subscribe(talking, binding)
        await execute(served, """insert into made (id, t) values (1, 'say "hi"')""", "update made set id = 2")
        await talking.until(lambda: len(talking.payloads(TOPIC, "postgres_changes")) == 2)
        insert, update = (payload["data"] for payload in talking.payloads(TOPIC, "postgres_changes"))
        made = {"select": 'SAY "HI"', "t": 'say "hi"', "fixed": "s", "v": "'hi':2 'say':1", "nothing": None}
        first, second = {"id": 1, "b": False, "n": 0.33, **made}, {"id": 2, "b": True, "n": 0.67, **made}
        assert insert["record"] == first
        assert [column["name"] for column in insert["columns"]] == [
            *("select", "id", "t", "b", "n", "fixed", "v", "nothing")
        ]
        assert update["record"] == second
        assert update["old_record"] == (first if full else {"id": 1})


async def test_who_may_read_presence_alone_hears_no_broadcast(served: Served) -> None:
    async with talk(served) as talking:
        await talking.join("realtime:hall", TOKEN, private=True, presence={"enabled": True})
        await talking.join("realtime:room:1", TOKEN, private=True)
        for topic in ("hall", "room:1"):
            await execute(served, f"select realtime.send('{{}}', 'e', '{topic}')")
        await talking.until(lambda: talking.broadcasts("realtime:room:1"))
        assert talking.broadcasts("realtime:hall") == []
        config = {
            "private": True,
            "presence": {"enabled": True},
            "broadcast": {"replay": {"since": 0, "limit": 1}},
        }
        ref = await talking.start_join("realtime:hall", TOKEN, **config)
        assert await talking.status(ref) == "error"
        assert talking.reply(ref)["response"]["reason"].startswith("Unauthorized: ")


@pytest.mark.parametrize(
    ("vsn", "received"), [(Vsn.V2, [b"\xde\xad\x00\xff", {"n": 1}]), (Vsn.V1, [{"n": 1}])]
)
async def test_a_replay_of_bytes(served: Served, vsn: Vsn, received: list[Any]) -> None:
    async with talk(served, vsn) as talking:
        bytes_, text = "'\\xdead00ff'::bytea", """'{"n": 1}'"""
        await execute(served, f"select realtime.send_binary({bytes_}, 'e', 'room:1')")
        await execute(served, f"select realtime.send({text}, 'e', 'room:1')")
        replay = {"since": 0, "limit": 5}
        await talking.join("realtime:room:1", TOKEN, private=True, broadcast={"replay": replay})
        await talking.until(lambda: len(talking.broadcasts("realtime:room:1")) == len(received))
        payloads = talking.payloads("realtime:room:1", "broadcast")
        assert [_without_id(payload["payload"]) for payload in payloads] == received
        assert all(payload["meta"]["replayed"] is True for payload in payloads)


def _without_id(payload: Any) -> Any:
    return payload if isinstance(payload, bytes) else {k: v for k, v in payload.items() if k != "id"}


async def test_ddl_from_many_connections_at_once(served: Served) -> None:
    """As a test suite's set-up does it: the publication's event triggers must not get in each other's way."""

    async def table(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(served.dsn, autocommit=True) as database:
            await database.execute(f"create table public.many_{number} (id int primary key)".encode())
            await database.execute(f"alter table public.many_{number} enable row level security".encode())
            await database.execute(f"create policy all_ on many_{number} using (true)".encode())
            await database.execute(f"alter publication supabase_realtime add table many_{number}".encode())
            await database.execute(f"insert into many_{number} values (1)".encode())

    async with talk(served) as talking:
        await subscribe(talking, things())
        await asyncio.gather(*(table(number) for number in range(10)))
        await subscribe(talking, {"event": "*", "schema": "public"}, topic="realtime:any")
        await execute(served, *(f"insert into many_{number} values (2)" for number in range(10)))
        await talking.until(lambda: talking.records("realtime:any").count(2) == 10)
        changes = [payload["data"] for payload in talking.payloads("realtime:any", "postgres_changes")]
        tables = [data["table"] for data in changes if data["record"]["id"] == 2]
        assert sorted(tables) == [f"many_{number}" for number in range(10)]


async def test_nothing_is_left_of_a_server(harness: Harness) -> None:
    before = asyncio.all_tasks()
    async with harness.database() as dsn:
        await _serve_and_stop(dsn)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as database:
            left: list[Any] = [None]
            deadline = asyncio.get_running_loop().time() + 10
            # A backend goes a moment after its socket: it first ends what it was sending.
            while left and asyncio.get_running_loop().time() < deadline:
                found = await database.execute(
                    "select application_name from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid() "
                    "union all "
                    "select slot_name from pg_replication_slots where database = current_database()"
                )
                left = await found.fetchall()
                await asyncio.sleep(0.02)
            assert left == []
    assert asyncio.all_tasks() == before


async def _serve_and_stop(dsn: str) -> None:
    """Stopped in the middle of everything."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as database:
        await database.execute(SCHEMA.encode())
    realtime = RealtimeServer(database_url=dsn, jwt_secret=SECRET, pace=Pace(refused_join=60))
    await realtime.start()
    async with serve(realtime) as base:
        served = Served(base, dsn, SECRET, realtime)
        async with talk(served) as talking, talk(served) as refused, talk(served):
            await subscribe(talking, things())
            await talking.join("realtime:room:1", TOKEN, private=True, presence={"enabled": True})
            await talking.push("realtime:room:1", "presence", {"event": "track", "payload": {}})
            await refused.start_join("realtime:secret", mint_token(SECRET, None, role="anon"), private=True)
            await execute(served, "insert into things select i, 'a', 'x' from generate_series(1, 5000) i")
            await realtime.stop()
            await talking.until(lambda: talking.closed)
            assert (talking.closed, realtime.sockets) == (1012, set())


# --- what the server makes in the database ------------------------------------------------------------------

GENUINE = "select count(*) from pg_publication where pubname = 'supabase_realtime_messages_publication'"


async def test_the_days_partitions_are_there_when_the_server_is(harness: Harness) -> None:
    """From yesterday to three days ahead, and no default: FACTS.md."""
    found = "select array_agg(inhrelid::regclass::text order by 1) from pg_inherits where inhparent = 'realtime.messages'::regclass"
    drop = (
        "do $$ declare name regclass; begin for name in select inhrelid from pg_inherits"
        " where inhparent = 'realtime.messages'::regclass loop execute format('drop table %s', name); end loop; end $$"
    )
    async with harness.server(drop) as served:
        today = datetime.datetime.now(datetime.UTC).date()
        days = [today + datetime.timedelta(days=offset) for offset in range(-1, 4)]
        assert await value(served, found) == [f"realtime.messages_{day:%Y_%m_%d}" for day in days]


async def test_the_publication_of_messages_comes_with_the_first_client(harness: Harness) -> None:
    """So a migration may make it, as dumps of projects do, and a broadcast from the database arrives all the same."""
    options = "with (publish = 'insert, update, delete, truncate')"
    for before in ("", f"create publication supabase_realtime_messages_publication {options};"):
        async with harness.server(SCHEMA) as served:
            assert await value(served, GENUINE) == 0
            if before:
                await execute(served, before)
            async with talk(served) as talking:
                await talking.join("realtime:room:1", TOKEN)
                while await value(served, GENUINE) == 0:
                    pass
                await execute(served, "select realtime.send('{\"a\": 1}', 'e', 'room:1', false)")
                await talking.until(lambda: talking.payloads("realtime:room:1", "broadcast"))
            assert await value(served, GENUINE) == 1


async def value(served: Served, query: str) -> Any:
    async with await psycopg.AsyncConnection.connect(served.dsn) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
        assert row is not None
        return row[0]
