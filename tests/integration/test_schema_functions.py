"""claim_task … resume_message: repeated, raced, fenced."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.acting import Connection, Row, acting, call, column, connect, new_id, sqlstate, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from realtime_toolkit.stack import LocalStack


@pytest.fixture
def role() -> str:
    """An agent_role that no other test asks for: claiming goes over all tasks there are."""
    return f"role-{new_id()}"


@pytest.fixture
def task_of(db: Connection, conversation: str, role: str) -> Callable[[], Coroutine[Any, Any, str]]:
    async def make() -> str:
        query = "insert into tasks (conversation_id, agent_role) values (%s, %s) returning id"
        return str(await value(db, query, conversation, role))

    return make


@pytest.fixture
async def task(task_of: Callable[[], Coroutine[Any, Any, str]]) -> str:
    return await task_of()


@pytest.fixture
async def message(db: Connection, conversation: str, task: str) -> str:
    query = "insert into messages (conversation_id, task_id) values (%s, %s) returning id"
    return str(await value(db, query, conversation, task))


@pytest.fixture
async def other(stack: LocalStack) -> AsyncIterator[Connection]:
    """A second session."""
    async with connect(stack.database_url) as connection:
        await connection.execute("set lock_timeout = '10s'")
        yield connection


async def fails(db: Connection, function: str, *arguments: Any) -> str:
    marks = ", ".join(["%s"] * len(arguments))
    return await sqlstate(db, f"select public.{function}({marks})", *arguments)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def waiting(db: Connection, pid: int) -> None:
    """Returns once the other session waits for a lock."""
    async with asyncio.timeout(10):
        while not await value(db, "select cardinality(pg_blocking_pids(%s)) > 0", pid):  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.005)


# Tasks


async def test_a_task_from_claim_to_outcome(db: Connection, role: str, task: str) -> None:
    claimed = await call(db, "claim_task", worker="w1", roles=[role])
    assert (claimed["id"], claimed["status"], claimed["attempt"]) == (task, "running", 1)
    assert claimed["lease_owner"] == "w1"
    assert claimed["started_at"] is not None
    assert claimed["lease_expires_at"].endswith("+00:00")
    assert await call(db, "claim_task", worker="w2", roles=[role]) is None

    renewed = await call(
        db, "renew_task", task=task, worker="w1", attempt=1, lease_seconds=90, progress="0.25"
    )
    assert renewed["status"] == "running"
    assert renewed["lease_expires_at"] > claimed["lease_expires_at"]

    done = await call(db, "finish_task", task=task, worker="w1", attempt=1, status="completed")
    assert (done["status"], done["progress"], done["lease_expires_at"]) == ("completed", 1, None)
    assert done["completed_at"] >= done["started_at"]
    again = await call(db, "finish_task", task=task, worker="w1", attempt=1, status="completed")
    assert again == done
    assert await fails(db, "finish_task", task, "w1", 1, "failed") == "RT002"


async def test_the_oldest_comes_first_and_only_of_the_roles_asked_for(
    db: Connection, role: str, task_of: Callable[[], Coroutine[Any, Any, str]]
) -> None:
    made = [await task_of() for _ in range(3)]
    assert await call(db, "claim_task", worker="w", roles=["somebody else's"]) is None
    got = [(await call(db, "claim_task", worker="w", roles=[role, "x"]))["id"] for _ in range(3)]
    assert got == made


async def test_a_named_task_is_claimed_again_by_its_own_worker_only(db: Connection, task: str) -> None:
    first = await call(db, "claim_task", worker="w1", task=task)
    again = await call(db, "claim_task", worker="w1", task=task)
    assert (again["id"], again["attempt"], again["started_at"]) == (task, 1, first["started_at"])
    assert await call(db, "claim_task", worker="w2", task=task) is None
    await call(db, "finish_task", task=task, worker="w1", attempt=1, status="failed", error="broken")
    assert await call(db, "claim_task", worker="w1", task=task) is None
    assert await call(db, "claim_task", worker="w1", task=new_id()) is None


async def test_a_user_claims_their_own_tasks_only(db: Connection, user: str, role: str, task: str) -> None:
    assert await call(db, "claim_task", new_id(), worker="w", roles=[role]) is None
    assert await call(db, "claim_task", new_id(), worker="w", task=task) is None
    async with acting(db, new_id()):
        assert await fails(db, "renew_task", task, "w", 1) == "RT004"
        assert await fails(db, "finish_task", task, "w", 1, "failed") == "RT004"
    assert (await call(db, "claim_task", user, worker="w", roles=[role]))["id"] == task
    done = await call(db, "finish_task", user, task=task, worker="w", attempt=1, status="cancelled")
    assert done["status"] == "cancelled"


@pytest.mark.parametrize(("worker", "seconds"), [(None, 30), ("w", 0), ("w", -1), ("w", None)])
async def test_a_lease_that_cannot_be(
    db: Connection, task: str, worker: str | None, seconds: int | None
) -> None:
    assert await fails(db, "claim_task", worker, seconds, task) == "22023"


async def test_eight_workers_never_get_the_same_task(
    stack: LocalStack, role: str, task_of: Callable[[], Coroutine[Any, Any, str]]
) -> None:
    made = [await task_of() for _ in range(40)]

    async def work(name: str) -> list[str]:
        got: list[str] = []
        async with connect(stack.database_url) as db:
            while (claimed := await call(db, "claim_task", worker=name, roles=[role])) is not None:
                got.append(claimed["id"])
        return got

    shares = await asyncio.gather(*(work(f"w{n}") for n in range(8)))
    assert sorted(task for share in shares for task in share) == sorted(made)


async def test_a_claim_passes_over_a_task_that_another_is_just_taking(
    db: Connection, other: Connection, role: str, task_of: Callable[[], Coroutine[Any, Any, str]]
) -> None:
    first, second = await task_of(), await task_of()
    async with db.transaction():
        assert (await call(db, "claim_task", worker="w1", roles=[role]))["id"] == first
        assert (await call(other, "claim_task", worker="w2", roles=[role]))["id"] == second
        assert await call(other, "claim_task", worker="w3", roles=[role]) is None


async def test_a_named_claim_waits_and_then_sees_what_happened(
    db: Connection, other: Connection, task: str
) -> None:
    async with asyncio.TaskGroup() as group, db.transaction():
        await call(db, "claim_task", worker="w1", task=task)
        late = group.create_task(call(other, "claim_task", worker="w2", task=task))
        await waiting(db, other.info.backend_pid)
    assert late.result() is None


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled"])
async def test_a_worker_learns_that_its_task_has_ended(db: Connection, task: str, outcome: str) -> None:
    await call(db, "claim_task", worker="w", task=task)
    await db.execute("update tasks set status = %s where id = %s", [outcome, task])
    told = await call(db, "renew_task", task=task, worker="w", attempt=1)
    assert told == {"status": outcome, "lease_expires_at": None}
    same = await call(db, "finish_task", task=task, worker="w", attempt=1, status=outcome)
    assert same["status"] == outcome


async def test_what_a_worker_is_refused(db: Connection, task: str) -> None:
    assert await fails(db, "finish_task", task, "w1", 1, "completed") == "RT001"  # never claimed
    await call(db, "claim_task", worker="w1", task=task)
    assert await fails(db, "renew_task", task, "w2", 1) == "RT001"
    assert await fails(db, "renew_task", task, "w1", 2) == "RT001"
    assert await fails(db, "finish_task", task, "w2", 1, "completed") == "RT001"
    assert await fails(db, "finish_task", task, "w1", None, "completed") == "RT001"
    for outcome in ("running", "pending", "done", None):
        assert await fails(db, "finish_task", task, "w1", 1, outcome) == "RT002"
    assert await fails(db, "renew_task", new_id(), "w1", 1) == "RT004"


# The reaper


async def expire(db: Connection, task: str) -> None:
    await db.execute("update tasks set lease_expires_at = now() - interval '1 second' where id = %s", [task])


async def test_an_expired_task_begins_again_with_its_messages(
    db: Connection, conversation: str, task: str, message: str
) -> None:
    query = (
        "insert into messages (conversation_id, task_id, status) values (%s, %s, 'completed') returning id"
    )
    finished = await value(db, query, conversation, task)
    await call(db, "claim_task", worker="w1", task=task)
    assert task not in await call(db, "reap_tasks")
    await call(db, "start_message", message=message, attempt=1)
    await call(db, "append_chunk", message=message, attempt=1, seq=0, position=0, body="half")
    await expire(db, task)
    assert task in await call(db, "reap_tasks")
    assert task not in await call(db, "reap_tasks")

    row = await value(db, "select to_jsonb(t) from tasks t where id = %s", task)
    assert (row["status"], row["attempt"], row["lease_owner"], row["lease_expires_at"], row["started_at"]) == (
        "pending", 2, None, None, None,
    )  # fmt: skip
    messages = "select status || attempt from messages where id = %s"
    assert await value(db, messages, message) == "pending2"
    assert await value(db, messages, finished) == "completed1"

    assert await fails(db, "renew_task", task, "w1", 1) == "RT001"
    assert await fails(db, "finish_task", task, "w1", 1, "completed") == "RT001"
    assert await fails(db, "append_chunk", message, 1, 1, 4, "late") == "RT001"
    assert await fails(db, "checkpoint_message", message, 1, None) == "RT001"
    assert await fails(db, "finish_message", message, 1, "completed", 4, sha256("half")) == "RT001"
    assert await fails(db, "start_message", message, 1) == "RT001"

    assert (await call(db, "claim_task", worker="w2", task=task))["attempt"] == 2
    await call(db, "start_message", message=message, attempt=2)
    assert await call(db, "resume_message", message=message, attempt=2) == {
        "attempt": 2, "next_seq": 0, "length": 0,
    }  # fmt: skip
    await call(db, "append_chunk", message=message, attempt=2, seq=0, position=0, body="whole")
    done = await call(
        db, "finish_message", message=message, attempt=2, status="completed", length=5, sha256=sha256("whole")
    )
    assert done["status"] == "completed"
    assert await value(db, "select content from messages where id = %s", message) == "whole"


async def test_the_reaper_takes_as_many_as_it_is_told(
    db: Connection, role: str, task_of: Callable[[], Coroutine[Any, Any, str]]
) -> None:
    await call(db, "reap_tasks", max=10_000)  # what other tests may have left
    for _ in range(5):
        await task_of()
        await expire(db, (await call(db, "claim_task", worker="w", roles=[role]))["id"])
    assert [len(await call(db, "reap_tasks", max=2)) for _ in range(4)] == [2, 2, 1, 0]


async def test_reapers_at_once_reap_each_task_once(
    stack: LocalStack, db: Connection, role: str, task_of: Callable[[], Coroutine[Any, Any, str]]
) -> None:
    made = [await task_of() for _ in range(30)]
    for _ in made:
        await expire(db, (await call(db, "claim_task", worker="w", roles=[role]))["id"])

    async def reap() -> list[str]:
        async with connect(stack.database_url) as one:
            return list(await call(one, "reap_tasks", max=30))

    reaped = [task for share in await asyncio.gather(*(reap() for _ in range(4))) for task in share]
    assert sorted(set(reaped) & set(made)) == sorted(made)
    assert len(reaped) == len(set(reaped))
    assert set(await column(db, "select attempt from tasks where agent_role = %s", role)) == {2}


async def test_a_task_renewed_just_now_is_not_reaped(db: Connection, other: Connection, task: str) -> None:
    await call(db, "claim_task", worker="w", task=task)
    await expire(db, task)
    async with db.transaction():
        await call(db, "renew_task", task=task, worker="w", attempt=1)
        assert task not in await call(other, "reap_tasks")
    assert task not in await call(other, "reap_tasks")


async def test_a_chunk_and_a_reaper_at_the_same_moment(
    db: Connection, other: Connection, task: str, message: str
) -> None:
    """Whichever comes first, no chunk of an attempt is stored after the attempt is over."""
    await call(db, "claim_task", worker="w", task=task)
    await call(db, "start_message", message=message, attempt=1)
    await expire(db, task)
    async with asyncio.TaskGroup() as group, db.transaction():  # the chunk first: the reaper waits for it
        await call(db, "append_chunk", message=message, attempt=1, seq=0, position=0, body="a")
        reaping = group.create_task(call(other, "reap_tasks"))
        await waiting(db, other.info.backend_pid)
    assert task in reaping.result()

    await call(db, "claim_task", worker="w", task=task)
    await call(db, "start_message", message=message, attempt=2)
    await expire(db, task)
    async with asyncio.TaskGroup() as group, db.transaction():
        # the reaper first: the chunk waits, and is refused
        await call(db, "reap_tasks")
        late = group.create_task(fails(other, "append_chunk", message, 2, 0, 0, "b"))
        await waiting(db, other.info.backend_pid)
    assert late.result() == "RT001"
    assert await column(db, "select attempt from message_chunks where message_id = %s", message) == [1]


# Messages


async def test_a_message_from_start_to_end(db: Connection, user: str, message: str) -> None:
    started = await call(db, "start_message", user, message=message, attempt=1)
    assert (started["status"], "content" in started) == ("streaming", False)
    assert (await call(db, "start_message", user, message=message, attempt=1)) == started

    for seq, position, body in ((0, 0, "Grüße, "), (1, 7, "𝒳 und "), (2, 13, "e\u0301!")):
        chunk: Row = {"message": message, "attempt": 1, "seq": seq, "position": position, "body": body}
        assert await call(db, "append_chunk", user, **chunk) == {"stored": True}
        assert await call(db, "append_chunk", user, **chunk) == {"stored": False}
    text = "Grüße, 𝒳 und e\u0301!"
    assert await call(db, "resume_message", user, message=message, attempt=1) == {
        "attempt": 1, "next_seq": 3, "length": len(text),
    }  # fmt: skip
    assert await call(db, "checkpoint_message", user, message=message, attempt=1, content=None) == {
        "length": len(text)
    }
    assert await value(db, "select content from messages where id = %s", message) == text

    end: Row = {
        "message": message, "attempt": 1, "status": "completed", "length": len(text), "sha256": sha256(text)
    }  # fmt: skip
    done = await call(db, "finish_message", user, **end)
    assert (done["status"], "content" in done) == ("completed", False)
    assert await call(db, "finish_message", user, **end) == done
    assert await call(db, "finish_message", user, **end, content=text) == done
    assert await value(db, "select content from messages where id = %s", message) == text
    # The end's outcome was unknown and the last chunk is sent once more:
    assert await call(
        db, "append_chunk", user, message=message, attempt=1, seq=2, position=13, body="e\u0301!"
    ) == {"stored": False}


async def test_what_a_writer_is_refused(db: Connection, message: str) -> None:
    assert await fails(db, "append_chunk", message, 1, 0, 0, "a") == "RT002"  # not started
    assert await fails(db, "checkpoint_message", message, 1, "a") == "RT002"
    await call(db, "start_message", message=message, attempt=1)
    await call(db, "append_chunk", message=message, attempt=1, seq=0, position=0, body="abc")
    assert await fails(db, "append_chunk", message, 1, 0, 0, "abd") == "RT003"
    assert await fails(db, "append_chunk", message, 1, 0, 1, "abc") == "RT003"
    for attempt in (0, 2, None):
        assert await fails(db, "append_chunk", message, attempt, 1, 3, "x") == "RT001"
        assert await fails(db, "resume_message", message, attempt) == "RT001"
    for outcome in ("streaming", "pending", "done", None):
        assert await fails(db, "finish_message", message, 1, outcome, 3, sha256("abc")) == "RT002"
    await call(
        db, "finish_message", message=message, attempt=1, status="failed", length=3, sha256=sha256("abc")
    )
    assert await fails(db, "append_chunk", message, 1, 1, 3, "x") == "RT002"
    assert await fails(db, "start_message", message, 1) == "RT002"
    assert await fails(db, "checkpoint_message", message, 1, "x") == "RT002"
    assert await fails(db, "finish_message", message, 1, "completed", 3, sha256("abc")) == "RT002"
    assert await fails(db, "finish_message", message, 1, "failed", 4, sha256("abcd")) == "RT003"
    assert await fails(db, "finish_message", message, 1, "failed", 4, sha256("abcd"), "abcd") == "RT003"


async def test_a_message_that_is_not_ones_own_is_not_there(db: Connection, message: str) -> None:
    async with acting(db, new_id()):
        for call_of in (
            ("start_message", message, 1),
            ("append_chunk", message, 1, 0, 0, "a"),
            ("checkpoint_message", message, 1, None),
            ("finish_message", message, 1, "failed", 0, sha256("")),
            ("resume_message", message, 1),
            ("resume_message", new_id(), 1),
        ):
            assert await fails(db, *call_of) == "RT004"


@pytest.mark.parametrize(
    ("length", "digest", "code"),
    [(6, sha256("abcdef"), None), (5, sha256("abcdef"), "RT003"), (6, sha256("abcdeF"), "RT003")],
)
async def test_the_end_is_checked(
    db: Connection, message: str, length: int, digest: str, code: str | None
) -> None:
    await call(db, "start_message", message=message, attempt=1)
    for seq, body in enumerate(("abc", "def")):
        await call(db, "append_chunk", message=message, attempt=1, seq=seq, position=3 * seq, body=body)
    if code:
        assert await fails(db, "finish_message", message, 1, "completed", length, digest) == code
        assert await value(db, "select status from messages where id = %s", message) == "streaming"
    end: Row = {
        "message": message,
        "attempt": 1,
        "status": "completed",
        "length": 6,
        "sha256": sha256("abcdef"),
    }
    assert (await call(db, "finish_message", **end))["status"] == "completed"


@pytest.mark.parametrize(
    "chunks",
    [
        [(1, 0, "abc")],
        [(0, 0, "abc"), (2, 3, "def")],
        [(0, 0, "abc"), (1, 4, "def")],
        [(0, 1, "abc")],
        [(0, 0, "abc"), (1, 2, "def")],
    ],
)
async def test_a_hole_is_found(db: Connection, message: str, chunks: list[tuple[int, int, str]]) -> None:
    await call(db, "start_message", message=message, attempt=1)
    for seq, position, body in chunks:
        await call(db, "append_chunk", message=message, attempt=1, seq=seq, position=position, body=body)
    text = "".join(body for *_, body in chunks)
    assert await fails(db, "checkpoint_message", message, 1, None) == "RT003"
    assert await fails(db, "finish_message", message, 1, "completed", len(text), sha256(text)) == "RT003"


async def test_row_mode_needs_no_chunks(db: Connection, message: str) -> None:
    await call(db, "start_message", message=message, attempt=1)
    assert await call(db, "checkpoint_message", message=message, attempt=1, content="Hel") == {"length": 3}
    version = await value(db, "select version from messages where id = %s", message)
    await call(db, "checkpoint_message", message=message, attempt=1, content="Hel")
    assert await value(db, "select version from messages where id = %s", message) == version
    end: Row = {
        "message": message,
        "attempt": 1,
        "status": "completed",
        "length": 5,
        "sha256": sha256("Hello"),
    }
    assert await fails(db, "finish_message", message, 1, "completed", 5, sha256("Hello"), "Help!") == "RT003"
    done = await call(db, "finish_message", **end, content="Hello")
    assert (await call(db, "finish_message", **end, content="Hello")) == done
    assert (await call(db, "finish_message", **end)) == done
    assert await value(db, "select content from messages where id = %s", message) == "Hello"


async def test_a_message_may_end_before_it_began(db: Connection, message: str) -> None:
    done = await call(
        db, "finish_message", message=message, attempt=1, status="cancelled", length=0, sha256=sha256("")
    )
    assert done["status"] == "cancelled"


async def test_clearing_up_after_a_writer_whose_count_is_not_known(db: Connection, message: str) -> None:
    await call(db, "start_message", message=message, attempt=1)
    await call(db, "append_chunk", message=message, attempt=1, seq=0, position=0, body="what there is")
    await call(db, "finish_message", message=message, attempt=1, status="failed", length=None, sha256=None)
    assert await value(db, "select content from messages where id = %s", message) == "what there is"


async def test_a_new_attempt_drops_the_old_ones_checkpoint(db: Connection, task: str, message: str) -> None:
    await call(db, "claim_task", worker="w", task=task)
    await call(db, "start_message", message=message, attempt=1)
    await call(db, "checkpoint_message", message=message, attempt=1, content="old")
    await expire(db, task)
    await call(db, "reap_tasks")
    content = "select content from messages where id = %s"
    assert await value(db, content, message) == "old"  # better than nothing, until there is something new
    await call(db, "start_message", message=message, attempt=2)
    assert await value(db, content, message) == ""


async def test_writers_of_one_message_at_once(stack: LocalStack, db: Connection, message: str) -> None:
    """Chunks in any order and twice each: every one is stored once, and the text is whole."""
    await call(db, "start_message", message=message, attempt=1)
    bodies = [f"{n} " for n in range(60)]
    positions = [sum(map(len, bodies[:n])) for n in range(60)]

    async def write(order: list[int]) -> int:
        stored = 0
        async with connect(stack.database_url) as one:
            for seq in order:
                answer = await call(
                    one, "append_chunk", message=message, attempt=1, seq=seq, position=positions[seq],
                    body=bodies[seq],
                )  # fmt: skip
                stored += answer["stored"]
        return stored

    counts = await asyncio.gather(write(list(range(60))), write(list(range(59, -1, -1))))
    assert sum(counts) == 60
    text = "".join(bodies)
    await call(
        db,
        "finish_message",
        message=message,
        attempt=1,
        status="completed",
        length=len(text),
        sha256=sha256(text),
    )
    assert await value(db, "select content from messages where id = %s", message) == text


# The end of a task is the end of its messages


async def half_streamed(db: Connection, task: str, message: str) -> None:
    await call(db, "claim_task", worker="w", task=task)
    await call(db, "start_message", message=message, attempt=1)
    for seq, position, body in ((0, 0, "so "), (1, 3, "far"), (3, 9, "behind a hole")):
        await call(db, "append_chunk", message=message, attempt=1, seq=seq, position=position, body=body)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("select finish_task('{0}', 'w', 1, 'failed', 'broken')", "failed"),
        ("select finish_task('{0}', 'w', 1, 'cancelled')", "cancelled"),
        ("select finish_task('{0}', 'w', 1, 'completed')", "failed"),
        ("select cancel_task('{0}')", "cancelled"),
        ("update tasks set status = 'cancelled' where id = '{0}'", "cancelled"),
        ("update tasks set status = 'failed' where id = '{0}'", "failed"),
        ("delete from tasks where id = '{0}'", "cancelled"),
    ],
)
@pytest.mark.parametrize("who", ["service", "user"])
async def test_however_a_task_ends_its_message_ends_with_the_text_there_is(
    db: Connection, user: str, task: str, message: str, end: str, status: str, who: str
) -> None:
    await half_streamed(db, task, message)
    if who == "service":
        await db.execute(end.format(task))
    elif "'failed' where" in end:
        async with acting(db, user):
            assert await sqlstate(db, end.format(task)) == "42501"
        return
    else:
        async with acting(db, user):
            await db.execute(end.format(task))
    row = await value(db, "select to_jsonb(m) from messages m where id = %s", message)
    assert (row["status"], row["content"]) == (status, "so far")


async def test_deleting_a_conversation_in_the_middle_of_an_answer(
    db: Connection, user: str, conversation: str, task: str, message: str
) -> None:
    await half_streamed(db, task, message)
    async with acting(db, user):
        await db.execute("delete from conversations where id = %s", [conversation])
    assert await value(db, "select count(*) from messages where id = %s", message) == 0


async def test_a_users_own_words_are_not_the_tasks(
    db: Connection, conversation: str, task: str, message: str
) -> None:
    query = "insert into messages (conversation_id, task_id, role) values (%s, %s, 'user') returning id"
    words = await value(db, query, conversation, task)
    await call(db, "cancel_task", task=task)
    assert await value(db, "select status from messages where id = %s", words) == "pending"


async def test_a_message_and_the_end_of_its_task_at_the_same_moment(
    db: Connection, other: Connection, conversation: str, task: str
) -> None:
    """Whichever comes first, no unfinished message is left."""
    query = "insert into messages (conversation_id, task_id) values (%s, %s) returning id"
    async with asyncio.TaskGroup() as group, db.transaction():
        first = await value(db, query, conversation, task)
        ending = group.create_task(call(other, "cancel_task", task=task))
        await waiting(db, other.info.backend_pid)
    assert ending.result()["status"] == "cancelled"
    assert await value(db, "select status from messages where id = %s", first) == "cancelled"
    late = await value(db, query, conversation, task)
    assert await value(db, "select status from messages where id = %s", late) == "cancelled"


async def test_an_answer_is_begun_once_and_by_whoever_has_the_task(
    db: Connection, user: str, conversation: str, task: str
) -> None:
    assert await fails(db, "begin_answer", task, "w", 1) == "RT001"
    await call(db, "claim_task", worker="w", task=task)
    assert await fails(db, "begin_answer", task, "another", 1) == "RT001"
    assert await fails(db, "begin_answer", new_id(), "w", 1) == "RT004"
    begun = await call(db, "begin_answer", task=task, worker="w", attempt=1)
    assert await call(db, "begin_answer", user, task=task, worker="w", attempt=1) == begun
    assert (begun["conversation_id"], begun["task_id"], begun["role"], begun["status"]) == (
        conversation, task, "assistant", "pending",
    )  # fmt: skip
    await expire(db, task)
    await call(db, "reap_tasks")
    await call(db, "claim_task", user, worker="v", task=task)
    again = await call(db, "begin_answer", user, task=task, worker="v", attempt=2)
    assert (again["id"], again["attempt"]) == (begun["id"], 2)
    await call(db, "finish_task", task=task, worker="v", attempt=2, status="failed")
    assert await fails(db, "begin_answer", task, "v", 2) == "RT002"


async def test_an_answer_that_a_client_made_beforehand_is_of_this_attempt(
    db: Connection, user: str, conversation: str, task: str
) -> None:
    await call(db, "claim_task", worker="w", task=task)
    await expire(db, task)
    await call(db, "reap_tasks")
    async with acting(db, user):
        query = "insert into messages (conversation_id, task_id) values (%s, %s) returning id"
        made = str(await value(db, query, conversation, task))
    await call(db, "claim_task", worker="v", task=task)
    begun = await call(db, "begin_answer", task=task, worker="v", attempt=2)
    assert (begun["id"], begun["attempt"]) == (made, 2)
    assert (await call(db, "start_message", message=made, attempt=2))["status"] == "streaming"


async def test_whoever_cancels_a_task_that_is_answered_comes_too_late(
    db: Connection, user: str, task: str, message: str
) -> None:
    await call(db, "claim_task", worker="w", task=task)
    await call(db, "finish_message", message=message, attempt=1, status="completed", length=0, sha256=None)
    async with acting(db, user):
        await db.execute("update tasks set status = 'cancelled' where id = %s", [task])
    row = await value(db, "select to_jsonb(t) from tasks t where id = %s", task)
    assert (row["status"], row["progress"]) == ("completed", 1)
    done = await call(db, "finish_task", task=task, worker="w", attempt=1, status="completed")
    assert done["status"] == "completed"


async def test_only_ones_own_task_can_be_cancelled(db: Connection, user: str, task: str) -> None:
    async with acting(db, new_id()):
        assert await fails(db, "cancel_task", task) == "RT004"
    assert (await call(db, "cancel_task", user, task=task))["status"] == "cancelled"
    assert (await call(db, "cancel_task", user, task=task))["status"] == "cancelled"
