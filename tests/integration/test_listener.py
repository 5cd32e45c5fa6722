"""The listener on the real stack: genuine Postgres, WAL, RLS, PostgREST, a real socket."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from supabase import create_client
from supabase.lib.client_options import SyncClientOptions

from realtime_toolkit.events import Recovered, Resynced, RowChanged, State, TextAppended
from realtime_toolkit.follow.listener import Listener
from realtime_toolkit.model import RowRef, Scope, canonical_key
from realtime_toolkit.replica.replica import Replica
from realtime_toolkit.store import PostgresStore, RestStore
from realtime_toolkit.write.agent import stream_text
from tests.integration.acting import Connection, connect
from tests.integration.following import LIMIT, PATIENT, QUICK, SHOP, Heard, following, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realtime_toolkit.stack import LocalStack

ANSWER = "Die Antwort ist 42. 答えは四十二です。 🚆 " * 60


async def tokens(text: str, *, pause: float = 0.0) -> AsyncIterator[str]:
    for start in range(0, len(text), 7):
        yield text[start : start + 7]
        await asyncio.sleep(pause)


def chat(conversation: str) -> Scope:
    return Scope("conversation", conversation)


# --- the stream ---


async def test_inserts_updates_and_deletes_arrive_live(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    async with following(stack, user, chat(conversation)) as (listener, heard):
        task = str(uuid.uuid4())
        await db.execute(
            "insert into tasks (id, conversation_id, prompt) values (%s, %s, 'p')", [task, conversation]
        )
        await db.execute("update conversations set title = 'renamed' where id = %s", [conversation])
        # Whether a subscriber may see a row is looked up when the change is processed: by then it must be there.
        await heard.row(lambda event: event.change.version == 2)
        await db.execute("delete from tasks where id = %s", [task])
        gone = await heard.row(lambda event: event.change.type == "DELETE")
        assert (gone.change.key, gone.via) == (canonical_key([task]), "live")
        changes = [
            (e.change.table, str(e.change.type), e.change.version, e.via) for e in heard.of(RowChanged)
        ]
        assert changes == [
            ("public.conversations", "INSERT", 1, "sync"),
            ("public.tasks", "INSERT", 1, "live"),
            ("public.conversations", "UPDATE", 2, "live"),
            ("public.tasks", "DELETE", None, "live"),
        ]
        assert listener.state is State.SYNCED
        await whole(db, user, conversation, listener, heard)


async def test_a_streamed_answer_arrives_character_by_character(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    async with (
        following(stack, user, chat(conversation)) as (listener, heard),
        RestStore(stack.url, stack.service_role_key) as service,
    ):
        outcome = await stream_text(service, conversation, tokens(ANSWER, pause=0.002), interval=0.05)
        await heard.until(lambda: heard.texts.get(outcome.message_id) == ANSWER)
        assert len(heard.of(TextAppended)) > 3
        assert listener.replica.text(outcome.message_id) == ANSWER
        await whole(db, user, conversation, listener, heard)
        assert heard.via["sync"] == 1, "all but the conversation, which was there before, came live"


async def test_a_stranger_hears_nothing(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    stranger = str(uuid.uuid4())
    async with (
        following(stack, user, chat(conversation)) as (_, mine),
        following(stack, stranger, chat(conversation)) as (theirs, heard),
    ):
        await db.execute("update conversations set title = 'secret' where id = %s", [conversation])
        await db.execute("insert into tasks (conversation_id, prompt) values (%s, 'secret')", [conversation])
        await mine.row(lambda event: event.change.table == "public.tasks")
        await asyncio.wait_for(theirs.resync(), LIMIT)
        assert not heard.of(RowChanged)
        assert len(theirs.replica) == 0


async def test_a_service_follows_any_scope(stack: LocalStack, db: Connection, conversation: str) -> None:
    heard = Heard()
    async with (
        RestStore(stack.url, stack.service_role_key) as store,
        Listener(
            stack.url, stack.service_role_key, None, chat(conversation), store, on_event=heard
        ) as listener,
    ):
        await asyncio.wait_for(listener.synced(), LIMIT)
        assert listener.user_id is None
        await db.execute("update conversations set title = 'x' where id = %s", [conversation])
        assert (await heard.row(lambda event: event.change.version == 2)).via == "live"


@pytest.mark.needs_stack("signs up, which a project's Auth may refuse, or answer by mail")
async def test_a_supabase_client_gives_address_key_and_token(
    stack: LocalStack, as_user: Callable[..., Any], db: Connection, user: str, conversation: str
) -> None:
    heard = Heard()
    async with (
        as_user(user).client() as client,
        RestStore(stack.url, stack.anon_key, token=lambda: stack.token(user)) as store,
    ):
        email = f"{uuid.uuid4().hex}@example.com"
        signed_up = await client.auth.sign_up({"email": email, "password": "a good password"})
        assert signed_up.user is not None
        await db.execute(
            "update conversations set user_id = %s where id = %s", [signed_up.user.id, conversation]
        )
        async with Listener.from_client(client, chat(conversation), store, on_event=heard) as listener:
            async with asyncio.timeout(LIMIT):
                await listener._until(lambda: listener.user_id is not None)
            assert listener.user_id == signed_up.user.id


async def test_a_blocking_supabase_client_will_do_and_its_key_where_nobody_is_signed_in(
    stack: LocalStack, db: Connection, conversation: str
) -> None:
    heard = Heard()
    with httpx.Client() as http:
        client = create_client(stack.url, stack.service_role_key, SyncClientOptions(httpx_client=http))
        async with (
            RestStore(stack.url, stack.service_role_key) as store,
            Listener.from_client(client, chat(conversation), store, on_event=heard) as listener,
        ):
            await asyncio.wait_for(listener.synced(), LIMIT)
            await db.execute("update conversations set title = 'x' where id = %s", [conversation])
            assert (await heard.row(lambda event: event.change.version == 2)).via == "live"


async def test_the_source_may_be_postgres(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    heard = Heard()
    async with (
        PostgresStore(stack.database_url, as_user={"sub": user}) as store,
        Listener(
            stack.url,
            stack.anon_key,
            stack.token(user),
            chat(conversation),
            store,
            on_event=heard,
            timing=QUICK,
        ) as listener,
    ):
        await db.execute("insert into tasks (conversation_id, prompt) values (%s, 'p')", [conversation])
        await whole(db, user, conversation, listener, heard)


# --- coming back ---


async def test_a_client_that_was_closed_comes_back_with_its_cursor(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    scope = chat(conversation)
    kept, dropped = str(uuid.uuid4()), str(uuid.uuid4())
    for task in (kept, dropped):
        await db.execute(
            "insert into tasks (id, conversation_id, prompt) values (%s, %s, 'p')", [task, conversation]
        )
    async with following(stack, user, scope) as (listener, heard):
        await asyncio.wait_for(listener.resync(), LIMIT)
        stored = json.dumps(listener.replica.dump())
    await db.execute("delete from tasks where id = %s", [dropped])
    async with RestStore(stack.url, stack.service_role_key) as service:
        outcome = await stream_text(service, conversation, tokens(ANSWER))
    before = len(heard.of(RowChanged))
    async with following(stack, user, scope, heard, replica=Replica.load(json.loads(stored))) as (
        listener,
        _,
    ):
        await whole(db, user, conversation, listener, heard)
        news = {(event.change.table, event.change.key) for event in heard.of(RowChanged)[before:]}
        assert ("public.tasks", canonical_key([dropped])) in news
        assert ("public.tasks", canonical_key([kept])) not in news
        assert ("public.conversations", canonical_key([conversation])) not in news
        assert heard.texts[outcome.message_id] == ANSWER


async def test_what_happened_before_the_subscription_is_recovered(
    supabase_branch: LocalStack, user: str
) -> None:
    """The join is answered at once, and what is committed before the database is subscribed reaches nobody."""
    stack = supabase_branch
    async with connect(stack.database_url) as db:
        made = await db.execute("insert into conversations (user_id) values (%s) returning id", [user])
        conversation = str((await made.fetchone() or [""])[0])
        stack.faults.inject("late-subscription", 0.5)
        heard = Heard()
        async with (
            RestStore(stack.url, stack.anon_key, token=lambda: stack.token(user)) as store,
            Listener(
                stack.url,
                stack.anon_key,
                stack.token(user),
                chat(conversation),
                store,
                on_event=heard,
                timing=PATIENT,
            ) as listener,
        ):
            await heard.until(lambda: State.CONNECTING in heard.states)
            await db.execute(
                "insert into tasks (conversation_id, prompt) values (%s, 'early')", [conversation]
            )
            await asyncio.wait_for(listener.synced(), LIMIT)
            await whole(db, user, conversation, listener, heard)


# --- values that do not come with the change ---


async def test_an_unchanged_toasted_text_stays_known(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    await db.execute("alter table messages alter column content set storage external")
    try:
        async with following(stack, user, chat(conversation), timing=PATIENT) as (listener, heard):
            message = str(uuid.uuid4())
            await db.execute(
                "insert into messages (id, conversation_id, role, content, status)"
                " values (%s, %s, 'user', %s, 'pending')",
                [message, conversation, "long text " * 2000],
            )
            await db.execute("update messages set status = 'streaming' where id = %s", [message])
            told = await heard.row(
                lambda e: e.change.key == canonical_key([message]) and e.change.version == 2
            )
            assert told.via == "live"
            assert told.change.row is not None
            assert told.change.row["content"] == "long text " * 2000
            await whole(db, user, conversation, listener, heard)
    finally:
        await db.execute("alter table messages alter column content set storage extended")


async def test_a_row_too_large_for_realtime_is_fetched(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    async with following(stack, user, chat(conversation), timing=PATIENT) as (listener, heard):
        await db.execute(
            "insert into messages (conversation_id, role, content, status) values (%s, 'user', %s, 'completed')",
            [conversation, "x" * 1_500_000],
        )
        told = await heard.row(lambda event: event.change.table == "public.messages")
        assert told.via == "sync"
        assert len(str(told.change.row and told.change.row["content"])) == 1_500_000
        assert listener.state is State.SYNCED
        await whole(db, user, conversation, listener, heard)


# --- a schema this project knows nothing of ---

ORDERS = Path(__file__).parent / "orders.sql"


@asynccontextmanager
async def shop(db: Connection) -> AsyncIterator[None]:
    await db.execute(ORDERS.read_bytes())
    try:
        yield
    finally:
        await db.execute("select untrack_table('orders'), untrack_table('order_lines')")
        await db.execute("drop table order_lines, orders, memberships, tenants")


async def test_orders_of_a_tenant_are_followed_and_leave_with_the_membership(
    apart: LocalStack, user: str
) -> None:
    stack = apart
    async with connect(stack.database_url) as db, shop(db):
        await db.execute("insert into tenants values (7, 'seven'), (8, 'eight')")
        await db.execute("insert into memberships values (7, %s)", [user])
        await db.execute("insert into orders (id, tenant_id, customer) values (9007199254740993, 7, 'old')")
        scope = Scope("tenant", "7")
        async with following(stack, user, scope, timing=PATIENT) as (listener, heard):
            await db.execute(
                "insert into orders (id, tenant_id, customer, total) values (1, 7, 'new', 12.50)"
            )
            await db.execute("insert into order_lines values (1, 1, 7, 'sku', 3), (1, 2, 7, 'sku', 4)")
            await db.execute("insert into orders (id, tenant_id, customer) values (2, 8, 'of another')")
            line = RowRef("public.order_lines", "[1, 2]")
            await heard.until(lambda: line in heard.rows)
            await db.execute("delete from orders where id = 1")  # and its lines by cascade
            await heard.until(lambda: line not in heard.rows)
            assert heard.via["live"] == 6
            await whole(db, user, 7, listener, heard, SHOP)
            assert listener.replica.rows("public.orders").keys() == {"[9007199254740993]"}

            await db.execute("delete from memberships where user_id = %s", [user])
            await asyncio.wait_for(listener.resync("the membership may have changed"), LIMIT)
            assert len(listener.replica) == 0
            await heard.until(lambda: not heard.rows)
            await db.execute("insert into memberships values (7, %s)", [user])
            await asyncio.wait_for(listener.resync(), LIMIT)
            assert len(listener.replica) == 1


VALUES = [
    "plain",
    "a, b",
    'say "hi"',
    "f(x)",
    "(",
    "back\\slash",
    "dotted.value",
    "ünï 列車 🚆",
    " padded ",
    "a=eq.b",
]


@asynccontextmanager
async def notes(db: Connection) -> AsyncIterator[None]:
    await db.execute(
        "create table notes (id int primary key, room text not null, body text);"
        "alter table notes enable row level security;"
        "grant select on notes to authenticated;"
        "create policy everybody on notes for select to authenticated using (true);"
        "select track_table('public.notes', kind => 'room', scope_column => 'room')"
    )
    try:
        yield
    finally:
        await db.execute("select untrack_table('notes'); drop table notes")


async def test_scopes_of_any_text_are_followed(apart: LocalStack, user: str) -> None:
    stack = apart
    async with connect(stack.database_url) as db, notes(db):
        for number, value in enumerate(VALUES):
            async with following(stack, user, Scope("room", value), timing=PATIENT) as (listener, heard):
                await db.execute("insert into notes values (%s, %s, 'in')", [number, value])
                await db.execute("insert into notes values (%s, 'elsewhere', 'out')", [number + 1000])
                await heard.row(lambda event: event.via == "live")
                await db.execute("delete from notes where id = %s", [number])
                await heard.row(lambda event: event.change.type == "DELETE")
                # The table is newly published, so the server may be subscribing everybody anew.
                await asyncio.wait_for(listener.synced(), LIMIT)
                assert len(heard.of(RowChanged)) == 2, value


# --- tokens ---


async def test_a_token_is_refreshed_while_it_is_in_use(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    given: list[str] = []

    def token() -> str:
        given.append(stack.token(user, exp=int(time.time()) + 3, n=len(given)))
        return given[-1]

    async with following(stack, user, chat(conversation), token=token) as (listener, heard):
        await heard.until(lambda: len(given) >= 2)
        await heard.until(lambda: any("anew" in event.reason for event in heard.of(Resynced)))
        await db.execute("update conversations set title = 'after' where id = %s", [conversation])
        assert (await heard.row(lambda event: event.change.version == 2)).via == "live"
        assert listener.stats.sessions == 1


async def test_nothing_is_recovered_where_nothing_was_missed(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    async with following(stack, user, chat(conversation)) as (listener, heard):
        for title in range(20):
            await db.execute("update conversations set title = %s where id = %s", [str(title), conversation])
        await heard.row(lambda event: event.change.version == 21)
        await asyncio.wait_for(listener.resync(), LIMIT)
        assert heard.of(Recovered) == [Recovered(1)], "the first sync"
