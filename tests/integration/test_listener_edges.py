"""What surrounds a listener and is not its own: callbacks, sources, tokens, migrations, projects of every sort."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from realtime_toolkit.errors import ConfigError, InputError, StoreClosed, StoreUnavailable, Unauthorized
from realtime_toolkit.events import Recovered, State, StateChanged
from realtime_toolkit.follow.listener import Listener, Timing
from realtime_toolkit.model import Scope
from realtime_toolkit.prove.reconcile import reconcile
from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.realtime.limits import Limits
from realtime_toolkit.store import RestStore
from realtime_toolkit.tasks import Deadline
from tests.integration.acting import connect
from tests.integration.following import LIMIT, PATIENT, QUICK, Heard, following

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.external.pacing import Pace
    from tests.integration.acting import Connection


own_stack = pytest.mark.needs_stack("starts a stack of its own, with another configuration")


@pytest.fixture
def kind() -> str:
    return f"k{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def tracked(
    db: Connection, kind: str, columns: str = "v text", *, name: str = "a", policy: str = "true"
) -> AsyncIterator[str]:
    """A table followed under the kind by its column ``scope`` (text), gone in the end."""
    table = f"public.{kind}_{name}"
    await db.execute(f"create table {table} (id int primary key, scope text not null, {columns})")
    await db.execute(f"alter table {table} enable row level security")
    await db.execute(f"grant select on {table} to authenticated")
    await db.execute(f"create policy p on {table} for select to authenticated using ({policy})")
    await db.execute(f"select public.track_table('{table}', '{kind}', 'scope')")
    try:
        yield table
    finally:
        await db.execute(f"drop table if exists {table}")


async def reaches(listener: Listener, condition: Callable[[], bool], seconds: float = LIMIT) -> None:
    async with Deadline(seconds):
        await listener._until(condition)


async def cancelled_by_another() -> Any:
    inner = asyncio.create_task(asyncio.sleep(3600))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


# --- a cancellation that is not ours ---


async def test_a_source_that_is_cancelled_by_another_is_asked_again(
    stack: LocalStack, db: Connection, user: str, kind: str
) -> None:
    poison = {"next": False}

    async def token() -> str:
        if poison["next"]:
            poison["next"] = False
            await cancelled_by_another()
        return stack.token(user)

    async with (
        tracked(db, kind) as table,
        RestStore(stack.url, stack.anon_key, token) as source,
        Listener(
            stack.url,
            stack.anon_key,
            lambda: stack.token(user),
            f"{kind}:1",
            source,
            timing=replace(QUICK, check=0.2),
        ) as listener,
    ):
        await asyncio.wait_for(listener.synced(), LIMIT)
        poison["next"] = True
        await reaches(listener, lambda: not poison["next"])
        async with connect(stack.admin_url) as admin:
            await admin.execute("set session_replication_role = replica")
            await admin.execute(f"insert into {table} (id, scope) values (1, '1')")
        await reaches(listener, lambda: len(listener.replica) == 1)
        await asyncio.wait_for(listener.synced(), LIMIT)


async def test_a_listener_whose_task_somebody_cancels_claims_nothing(
    stack: LocalStack, user: str, conversation: str
) -> None:
    async with following(stack, user, Scope("conversation", conversation)) as (listener, _):
        assert listener._task is not None
        listener._task.cancel()
        with pytest.raises(Exception, match="the listener ended"):
            await asyncio.wait_for(listener.wait_closed(), LIMIT)
        assert listener.state is State.ERROR
        with pytest.raises(Exception, match="the listener ended"):
            await listener.synced()


async def test_a_scope_of_anyio_around_a_listener_takes_its_cancellation_back(
    stack: LocalStack, user: str, conversation: str
) -> None:
    """As Starlette and FastAPI end a request whose client is gone; and nothing spins while it closes."""
    with anyio.move_on_after(30) as scope:
        async with following(stack, user, Scope("conversation", conversation)) as (listener, _):
            busy = time.process_time()
            scope.cancel()
            await asyncio.sleep(3600)
    assert scope.cancelled_caught
    assert listener.state is State.DISCONNECTED
    assert time.process_time() - busy < 2


# --- tokens ---


@pytest.mark.parametrize("given", [b"bytes", 7, "two words", ""])
async def test_what_is_no_token_is_said_where_it_is_given(stack: LocalStack, given: Any) -> None:
    source = RestStore(stack.url, stack.anon_key)
    with pytest.raises(ConfigError, match="token"):
        Listener(stack.url, stack.anon_key, given, "conversation:1", source)


async def test_a_token_that_is_over_and_cannot_be_renewed_ends_it(
    stack: LocalStack, user: str, conversation: str
) -> None:
    token = mint_token(stack.jwt_secret, user, now=time.time() - 7200)
    async with RestStore(stack.url, stack.anon_key, lambda: stack.token(user)) as source:
        listener = Listener(
            stack.url,
            stack.anon_key,
            token,
            f"conversation:{conversation}",
            source,
            timing=replace(QUICK, join=8),  # a join is refused after 5 s
        )
        await listener.start()
        try:
            with pytest.raises(Unauthorized, match="expired"):
                await asyncio.wait_for(listener.synced(), LIMIT)
        finally:
            await listener.close()


@pytest.mark.parametrize(
    "odd", [lambda: 1 / 0, lambda: b"x", lambda: None, cancelled_by_another, asyncio.Event().wait]
)
async def test_a_token_callback_may_fail_in_any_way_and_the_next_one_counts(
    stack: LocalStack, user: str, conversation: str, odd: Callable[[], Any]
) -> None:
    calls = []

    def token() -> Any:
        calls.append(1)
        return odd() if len(calls) == 1 else stack.token(user)

    scope = Scope("conversation", conversation)
    async with following(stack, user, scope, token=token, timing=replace(QUICK, token=0.2)) as (listener, _):
        assert listener.state is State.SYNCED
        assert len(calls) >= 2


# --- mistakes of the caller ---


@pytest.mark.parametrize("scope", ["no scope", "", "Kind:1", 7, None, b"conversation:1"])
async def test_a_scope_that_is_none_is_said_where_it_is_given(stack: LocalStack, scope: Any) -> None:
    source = RestStore(stack.url, stack.anon_key)
    with pytest.raises(InputError, match="scope"):
        Listener(stack.url, stack.anon_key, None, scope, source)


@pytest.mark.parametrize("source", [None, "http://x", object()])
async def test_a_source_that_is_none_is_said_where_it_is_given(stack: LocalStack, source: Any) -> None:
    with pytest.raises(InputError, match="source"):
        Listener(stack.url, stack.anon_key, None, "conversation:1", source)


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (uuid.UUID(int=5), str(uuid.UUID(int=5))), ("A-b", "A-b")]
)
def test_a_scope_keeps_the_spelling_of_its_value(value: Any, text: str) -> None:
    assert Scope("tenant", value).value == text
    assert Scope.parse(f"tenant:{text}").value == text


@pytest.mark.parametrize("value", [None, 1.5, b"x", True, ["a"], ""])
def test_what_is_no_value_of_a_scope_is_refused(value: Any) -> None:
    with pytest.raises(InputError):
        Scope("tenant", value)


async def test_a_kind_that_nobody_tracks_is_raised_and_not_retried(stack: LocalStack, user: str) -> None:
    async with RestStore(stack.url, stack.anon_key, lambda: stack.token(user)) as source:
        listener = Listener(stack.url, stack.anon_key, lambda: stack.token(user), "nobody_tracks:1", source)
        await listener.start()
        try:
            with pytest.raises(InputError, match="nobody_tracks"):
                await asyncio.wait_for(listener.synced(), LIMIT)
        finally:
            await listener.close()


async def test_a_closed_source_is_raised_before_and_after_it_was_synced(
    stack: LocalStack, user: str, conversation: str
) -> None:
    source = RestStore(stack.url, stack.anon_key, lambda: stack.token(user))
    made = [
        Listener(
            stack.url,
            stack.anon_key,
            lambda: stack.token(user),
            f"conversation:{conversation}",
            source,
            timing=replace(QUICK, check=0.1),
        )
        for _ in range(2)
    ]
    async with source, made[0]:
        await asyncio.wait_for(made[0].synced(), LIMIT)
        await source.__aexit__(None, None, None)
        with pytest.raises(StoreClosed):
            await asyncio.wait_for(made[0].wait_closed(), LIMIT)
    async with made[1]:
        with pytest.raises(StoreClosed):
            await asyncio.wait_for(made[1].synced(), LIMIT)


# --- migrations under live subscribers ---


async def test_another_table_under_the_kind_is_learnt_without_a_restart(
    stack: LocalStack, db: Connection, user: str, kind: str
) -> None:
    async with tracked(db, kind) as first:
        await db.execute(f"insert into {first} values (1, '1', 'x')")
        async with (
            following(stack, user, Scope(kind, "1")) as (listener, _),
            tracked(db, kind, name="b") as second,
        ):
            await db.execute(f"insert into {second} values (7, '1', 'new')")
            await reaches(listener, lambda: second in listener.replica.tables and len(listener.replica) == 2)
            await asyncio.wait_for(listener.synced(), LIMIT)
            await db.execute(f"insert into {second} values (8, '1', 'live')")
            await reaches(listener, lambda: len(listener.replica) == 3)


async def test_a_column_that_is_added_comes_to_rows_that_nobody_updates(
    stack: LocalStack, db: Connection, user: str, kind: str
) -> None:
    async with tracked(db, kind) as table:
        await db.execute(f"insert into {table} values (1, '1', 'x')")
        async with following(stack, user, Scope(kind, "1")) as (listener, heard):
            await db.execute(f"alter table {table} add column n int not null default 7")
            await heard.until(lambda: any(row.get("n") == 7 for row in heard.rows.values()))
            held = listener.replica.row(table, "[1]")
            assert held is not None
            assert held["n"] == 7


async def test_a_table_that_is_away_for_a_moment_comes_back(
    stack: LocalStack, db: Connection, user: str, kind: str
) -> None:
    async with tracked(db, kind), following(stack, user, Scope(kind, "1")) as (listener, _):
        await db.execute(f"drop table public.{kind}_a")
        await reaches(listener, lambda: listener.state is not State.SYNCED)
        async with tracked(db, kind) as table:
            await db.execute(f"insert into {table} values (1, '1', 'again')")
            await reaches(listener, lambda: listener.state is State.SYNCED and len(listener.replica) == 1)


async def test_a_policy_that_raises_for_one_token_does_not_end_it(
    stack: LocalStack, db: Connection, user: str, kind: str
) -> None:
    """The usual order with custom claims: a hook fills them in at the next refresh."""
    claims: dict[str, Any] = {"tenant": ""}
    policy = "scope::int = (select (auth.jwt() ->> 'tenant')::int)"
    async with (
        tracked(db, kind, policy=policy) as table,
        RestStore(stack.url, stack.anon_key, lambda: stack.token(user, **claims)) as source,
    ):
        await db.execute(f"insert into {table} values (1, '1', 'x')")
        async with Listener(
            stack.url,
            stack.anon_key,
            lambda: stack.token(user, **claims),
            f"{kind}:1",
            source,
            timing=QUICK,
            backoff=(0.05, 0.2),
        ) as listener:
            await reaches(listener, lambda: listener.state is State.ERROR or "sync failed" in listener.reason)
            claims["tenant"] = "1"
            await asyncio.wait_for(listener.synced(), LIMIT)
            assert len(listener.replica) == 1


# --- projects of every sort ---


async def test_a_user_of_third_party_auth_is_followed(stack: LocalStack, db: Connection, kind: str) -> None:
    someone = "user_0AbCdEf|x"
    async with tracked(db, kind, policy="scope = (select auth.jwt() ->> 'sub')") as table:
        await db.execute(f"insert into {table} values (1, '{someone}', 'mine'), (2, 'another', 'theirs')")
        async with following(stack, someone, Scope(kind, someone)) as (listener, _):
            assert list(listener.replica.rows(table)) == ["[1]"]
            await db.execute(f"insert into {table} values (3, '{someone}', 'live')")
            await reaches(listener, lambda: len(listener.replica) == 2)
            async with RestStore(stack.url, stack.anon_key, lambda: stack.token(someone)) as source:
                assert (await reconcile(listener, source)).ok


@own_stack
async def test_a_project_with_private_channels_only_is_followed(user: str) -> None:
    async with LocalStack(migrations="supabase/migrations", limits=Limits(private_only=True)) as stack:
        async with RestStore(stack.url, stack.service_role_key) as service:
            conversation = (await service.create_conversation(user_id=user))["id"]
        async with following(stack, user, Scope("conversation", conversation)) as (listener, _):
            assert listener.state is State.SYNCED


@own_stack
async def test_without_watermarks_it_goes_on_and_says_that_nothing_can_be_proven(
    user: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with LocalStack(migrations="supabase/migrations") as stack, connect(stack.database_url) as db:
        await db.execute("alter publication supabase_realtime drop table public.realtime_watermarks")
        async with RestStore(stack.url, stack.service_role_key) as service:
            conversation = (await service.create_conversation(user_id=user))["id"]
        async with following(stack, user, Scope("conversation", conversation)) as (listener, _):
            assert not listener.hears_watermarks
            assert "no watermarks can be heard" in caplog.text
            async with RestStore(stack.url, stack.anon_key, lambda: stack.token(user)) as source:
                with pytest.raises(InputError, match="nothing can be proven"):
                    await reconcile(listener, source)


# --- readers ---


async def test_a_reader_who_has_left_holds_nothing_up(
    stack: LocalStack, db: Connection, user: str, kind: str, pace: Pace
) -> None:
    async with (
        tracked(db, kind) as table,
        RestStore(stack.url, stack.anon_key, lambda: stack.token(user)) as source,
        Listener(
            stack.url,
            stack.anon_key,
            lambda: stack.token(user),
            f"{kind}:1",
            source,
            timing=QUICK,
            max_queue=100,
        ) as listener,
    ):
        async for event in listener:
            if isinstance(event, StateChanged) and event.state is State.SYNCED:
                break
        await pace.write(1000)
        await db.execute(f"insert into {table} select n, '1', 'x' from generate_series(1, 1000) n")
        await reaches(listener, lambda: len(listener.replica) == 1000)
        await asyncio.wait_for(listener.resync(), LIMIT)


# --- truth while the server is silent ---


async def test_a_source_that_does_not_answer_takes_synced_back(
    stack: LocalStack, user: str, conversation: str
) -> None:
    hang = asyncio.Event()

    class Silent(RestStore):
        async def _run(self, function: str, args: Any) -> Any:
            if function == "glance_scope" and hang.is_set():
                await asyncio.Event().wait()
            return await super()._run(function, args)

    async with (
        Silent(stack.url, stack.anon_key, lambda: stack.token(user)) as source,
        Listener(
            stack.url,
            stack.anon_key,
            lambda: stack.token(user),
            f"conversation:{conversation}",
            source,
            timing=replace(QUICK, check=0.1),
        ) as listener,
    ):
        await asyncio.wait_for(listener.synced(), LIMIT)
        hang.set()
        await reaches(listener, lambda: listener.state is not State.SYNCED)


async def test_a_mark_that_cannot_be_sent_does_not_keep_synced_alive(
    stack: LocalStack, db: Connection, user: str, conversation: str
) -> None:
    class Stuck(RestStore):
        async def watermark(self, user_id: str, mark: str) -> str:
            await asyncio.Event().wait()
            return mark

    token = lambda: stack.token(user)  # noqa: E731
    async with (
        Stuck(stack.url, stack.anon_key, token) as source,
        Listener(
            stack.url,
            stack.anon_key,
            token,
            f"conversation:{conversation}",
            source,
            timing=replace(QUICK, check=0.2),
        ) as listener,
    ):
        await asyncio.wait_for(listener.synced(), LIMIT)
        stack.faults.inject("batch-lost")
        await db.execute("insert into tasks (conversation_id, prompt) values (%s, 'lost')", [conversation])
        await reaches(listener, lambda: listener.state is not State.SYNCED or len(listener.replica) == 2, 6)
        await reaches(listener, lambda: listener.state is State.SYNCED and len(listener.replica) == 2)
        assert len(listener.marks) <= 1


@pytest.mark.parametrize("fault", ["slot-lost:3", "batch-lost", "rate-limit:2"])
async def test_a_silent_loss_is_noticed_within_five_seconds_at_the_defaults(
    stack: LocalStack, db: Connection, user: str, kind: str, fault: str
) -> None:
    async with (
        tracked(db, kind) as table,
        following(stack, user, Scope(kind, "1"), timing=Timing()) as (listener, _),
    ):
        stack.faults.inject_text(fault)
        await asyncio.sleep(0.05)
        await db.execute(f"insert into {table} values (1, '1', 'lost')")
        await reaches(listener, lambda: listener.state is not State.SYNCED or len(listener.replica) == 1, 5)
        await reaches(listener, lambda: listener.state is State.SYNCED and len(listener.replica) == 1)


async def test_what_becomes_visible_comes_within_five_seconds_at_the_defaults(
    stack: LocalStack, db: Connection, user: str, kind: str
) -> None:
    members = f"exists (select from public.{kind}_m m where m.who = (select auth.uid()))"
    await db.execute(
        f"create table public.{kind}_m (who uuid); grant select on public.{kind}_m to authenticated"
    )
    try:
        async with tracked(db, kind, policy=members) as table:
            await db.execute(f"insert into {table} values (1, '1', 'x'), (2, '1', 'y')")
            async with following(stack, user, Scope(kind, "1"), timing=Timing()) as (listener, _):
                assert len(listener.replica) == 0
                await db.execute(f"insert into public.{kind}_m values ('{user}')")
                await reaches(listener, lambda: len(listener.replica) == 2, 5)
    finally:
        await db.execute(f"drop table public.{kind}_m")


@pytest.fixture
async def polling(external: bool, stack: LocalStack) -> AsyncIterator[LocalStack]:
    """A project whose server polls, as the genuine one does."""
    if external:
        yield stack
    else:
        async with LocalStack(
            migrations="supabase/migrations", pace="genuine", limits=Limits.generous()
        ) as slow:
            yield slow


async def test_what_a_server_that_polls_has_in_flight_is_no_loss(polling: LocalStack, user: str) -> None:
    """Twenty commits a second for several comparisons, at the genuine pace: not one false word."""
    async with (
        connect(polling.database_url) as db,
        tracked(db, "flight") as table,
    ):
        heard = Heard()
        timing = Timing(check=0.5)
        async with following(polling, user, Scope("flight", "1"), heard, timing=timing) as (listener, _):
            before = len(heard.of(StateChanged))
            for n in range(120):
                await db.execute(f"insert into {table} values (%s, '1', 'x')", [n])
                await asyncio.sleep(0.05)
            await reaches(listener, lambda: len(listener.replica) == 120)
            assert listener.stats.comparisons > 5
            assert heard.of(StateChanged)[before:] == []
            assert heard.of(Recovered) == []
            assert heard.via["sync"] == 0


async def test_a_diverged_verdict_takes_synced_back_and_mends(user: str) -> None:
    """On a stack of its own: a table that another test drops would have everybody subscribed, and synced, anew."""
    async with LocalStack(migrations="supabase/migrations") as stack, connect(stack.database_url) as db:
        async with RestStore(stack.url, stack.service_role_key) as service:
            conversation = (await service.create_conversation(user_id=user))["id"]
        scope = Scope("conversation", conversation)
        async with (
            following(stack, user, scope, timing=PATIENT) as (listener, heard),
            RestStore(stack.url, stack.anon_key, lambda: stack.token(user)) as source,
        ):
            stack.faults.inject("batch-lost")
            await db.execute(
                "insert into tasks (conversation_id, prompt) values (%s, 'lost')", [conversation]
            )
            verdict = await reconcile(listener, source)
            assert verdict.kind == "diverged"
            await heard.until(lambda: len(heard.rows) == 2)
            await heard.until(lambda: heard.states[-2:] == [State.SYNCING, State.SYNCED])


async def test_a_gateways_page_is_never_the_reason(stack: LocalStack, user: str, conversation: str) -> None:
    class Gateway(RestStore):
        async def tables(self, kind: str) -> Any:
            raise StoreUnavailable("tables: HTTP 522")

    async with Gateway(stack.url, stack.anon_key, lambda: stack.token(user)) as source:
        listener = Listener(
            stack.url, stack.anon_key, lambda: stack.token(user), f"conversation:{conversation}", source
        )
        await listener.start()
        try:
            await reaches(listener, lambda: "HTTP 522" in listener.reason)
            assert "<" not in listener.reason
        finally:
            await listener.close()
