"""A digest that can be prepared for: the sum of unkeyed hashes is no proof against whoever chooses the keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from realtime_toolkit.model import Digest, Scope, row_hash
from realtime_toolkit.prove.reconcile import reconcile
from realtime_toolkit.store import RestStore
from tests.integration.acting import connect
from tests.integration.following import LIMIT, PATIENT, following

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_toolkit.stack import LocalStack
    from tests.integration.acting import Connection

# Found in 7 s by a birthday search over eight lists, for version 1 of rows of this table changed in transaction 100.
DELETED = (4947, 178364, 338671, 499233)
INSERTED = (637702, 669050, 796396, 960515)
TABLE = "public.forged"


def digest(keys: tuple[int, ...], salt: str = "") -> Digest:
    total = Digest()
    for key in keys:
        total = total.plus(row_hash(TABLE, f"[{key}]", 1, 100, salt))
    return total


@pytest.fixture
async def forged(db: Connection) -> AsyncIterator[None]:
    await db.execute(f"create table {TABLE} (id int primary key, scope int not null)")
    await db.execute(f"alter table {TABLE} enable row level security")
    await db.execute(f"grant select on {TABLE} to authenticated")
    await db.execute(f"create policy p on {TABLE} for select to authenticated using (true)")
    await db.execute(f"select public.track_table('{TABLE}', 'forged', 'scope')")
    yield
    await db.execute(f"drop table {TABLE}")


async def write(stack: LocalStack, keys: tuple[int, ...], *, instead_of: tuple[int, ...] = ()) -> None:
    """As somebody who knew the transaction's number beforehand."""
    async with connect(stack.admin_url) as admin, admin.transaction():
        await admin.execute("set local session_replication_role = replica")
        await admin.execute(f"delete from {TABLE} where id = any (%s)", [list(instead_of)])
        await admin.execute(
            f"insert into {TABLE} (id, scope, version, changed_in) select k, 1, 1, '100' from unnest(%s::int[]) k",
            [list(keys)],
        )


def test_the_rows_were_prepared() -> None:
    assert digest(DELETED) == digest(INSERTED)
    assert digest(DELETED, "salt") != digest(INSERTED, "salt")


async def test_prepared_rows_do_not_pass_for_those_that_were_lost(
    stack: LocalStack, forged: None, user: str
) -> None:
    await write(stack, DELETED)
    scope = Scope("forged", "1")
    async with following(stack, user, scope, timing=PATIENT) as (listener, heard):
        before = listener.replica.digest
        stack.faults.inject("batch-lost")
        await write(stack, INSERTED, instead_of=DELETED)
        async with RestStore(stack.url, stack.anon_key, lambda: stack.token(user)) as source:
            assert (await source.glance(scope)).digest == before, "an unsalted digest sees nothing"
            verdict = await reconcile(listener, source)
            assert verdict.kind == "diverged"
            assert {ref.key for ref in verdict.missing} == {f"[{key}]" for key in INSERTED}
            assert {ref.key for ref in verdict.extra} == {f"[{key}]" for key in DELETED}
            await heard.until(lambda: {ref.key for ref in heard.rows} == {f"[{key}]" for key in INSERTED})
            await asyncio.wait_for(listener.synced(), LIMIT)
            assert (await reconcile(listener, source)).ok
