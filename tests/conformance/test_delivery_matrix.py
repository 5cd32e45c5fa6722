"""What verify says is delivered is what the stack delivers: the same rows, committed, to real clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from websockets.asyncio.client import connect

from realtime_toolkit.settings import mint_token
from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.config import Config
from realtime_toolkit.verify.delivery import Deliveries, Delivery
from realtime_toolkit.verify.stage import staged
from realtime_toolkit.verify.tables import in_dependency_order
from tests.conformance.harness import SECRET
from tests.conformance.test_python_clients import Inbox, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from websockets.asyncio.client import ClientConnection

    from tests.conformance.harness import Harness, Served

TESTS = Path(__file__).parents[1]
CORRECT = [
    "membership_table",
    "tenant_column",
    "public_read",
    "partitions",
    "app_metadata_claims",
    "soft_delete",
]
FLAWED = [
    "PUB011_key_not_granted",
    "PUB010_full_identity_rls_off",
    "PUB009_identity_full_without_key",
    "RLS001_published_rls_off",
]
FILES = [TESTS / "correct" / f"{name}.sql" for name in CORRECT] + [
    TESTS / "flaws" / f"{name}.sql" for name in FLAWED
]


@dataclass(frozen=True)
class Staged:
    """What verify expects, and the statements that make it happen."""

    tables: tuple[str, ...]
    claims: Mapping[str, Mapping[str, Any]]
    expected: tuple[Delivery, ...]
    inserts: tuple[str, ...]
    changes: tuple[tuple[str, Whose, str, str, str], ...]
    """Table, whose row, what identifies it in a record, the UPDATE, the DELETE; children first."""
    cleared: tuple[str, ...]


def stage(dsn: str) -> Staged:
    with psycopg.connect(dsn, autocommit=True) as connection, staged(connection, Config()) as s:
        deliveries = Deliveries(connection, s.model, s.access)
        published = [t for t in s.model.published if t.name != "public.unrelated"]
        changes = []
        cleared = []
        for table in reversed(in_dependency_order(s.model.tables.values())):
            if table.name == "public.unrelated":
                continue
            if table not in published:  # what hangs on a published row would hold it back
                cleared.append(f"delete from {table.name}")
                continue
            for whose in s.access.rows_of(table):
                row = s.access.row(table, whose)
                update = s.access.probe(table, whose, Command.UPDATE, "service_role")
                delete = s.access.probe(table, whose, Command.DELETE, "service_role")
                assert row is not None
                assert update is not None
                assert delete is not None
                key = "|".join(str(row[name]) for name in (table.key or tuple(row)) if not is_time(row[name]))
                set_, remove = (probe.statement.as_string(connection) for probe in (update, delete))
                changes.append((table.name, whose, key, set_, remove))
        return Staged(
            tuple(table.name for table in published),
            {role: person.claims for role, person in s.access.actors.items()},
            tuple(d for table in published for d in deliveries.of(table)),
            tuple(s.seeder.world.script),
            tuple(changes),
            tuple(cleared),
        )


def is_time(value: str | None) -> bool:
    """Times are written one way by Postgres and another by Realtime."""
    return value is not None and value[:4].isdigit() and value[4:5] == "-" and ":" in value


@contextlib.asynccontextmanager
async def subscriber(
    served: Served, role: str, claims: Mapping[str, Any], tables: tuple[str, ...]
) -> AsyncIterator[Inbox]:
    """Frames as they are: the official client cannot read those that say "Error 401"."""
    token = mint_token(SECRET, None, role=role, claims=claims)
    names = [name.split(".") for name in (*tables, "public.unrelated")]
    bindings = [{"event": "*", "schema": schema, "table": table} for schema, table in names]
    changes, system = Inbox(), Inbox()
    url = served.base.replace("http", "ws", 1)
    async with connect(f"{url}/realtime/v1/websocket?apikey={token}&vsn=1.0.0") as socket:
        join = {"config": {"postgres_changes": bindings}, "access_token": token}
        frame = {"topic": f"realtime:matrix of {role}", "event": "phx_join", "payload": join, "ref": "1"}
        await socket.send(json.dumps(frame))
        reading = asyncio.create_task(read(socket, changes, system))
        try:
            await system.until(lambda items: any("Subscribed to PostgreSQL" in str(item) for item in items))
            yield changes
        finally:
            reading.cancel()


async def read(socket: ClientConnection, changes: Inbox, system: Inbox) -> None:
    async for text in socket:
        frame = json.loads(text)
        (changes if frame["event"] == "postgres_changes" else system)(frame["payload"])


async def settled(served: Served, inboxes: Mapping[str, Inbox], number: int) -> None:
    """Every subscriber has received what was committed so far: the mark comes after it."""
    await execute(served, f"insert into public.unrelated values ({number})")
    for inbox in inboxes.values():
        await inbox.until(lambda items: any(is_mark(item["data"], number) for item in items))


def is_mark(data: Mapping[str, Any], number: int) -> bool:
    return bool(data["table"] == "unrelated" and data["record"]["id"] == number)


@pytest.mark.parametrize("schema", FILES, ids=lambda path: path.stem)
async def test_the_matrix_is_what_is_delivered(harness: Harness, schema: Path) -> None:
    script = await asyncio.to_thread(schema.read_text)
    async with harness.server(script) as served, contextlib.AsyncExitStack() as stack:
        known = await asyncio.to_thread(stage, served.dsn)
        inboxes = {
            role: await stack.enter_async_context(subscriber(served, role, claims, known.tables))
            for role, claims in known.claims.items()
        }
        await execute(served, "begin", *known.inserts, "commit")
        await settled(served, inboxes, 1)
        for _, _, _, update, _ in known.changes:
            await execute(served, update)
            await settled(served, inboxes, 2 + len(served_marks(inboxes)))
        for statement in (*known.cleared, *(delete for *_, delete in known.changes), *known.cleared):
            with contextlib.suppress(psycopg.errors.ForeignKeyViolation):
                await execute(served, statement)
        await settled(served, inboxes, 10_000)
        for role, inbox in inboxes.items():
            compare(
                known, role, [item["data"] for item in inbox.items if item["data"]["table"] != "unrelated"]
            )


def served_marks(inboxes: Mapping[str, Inbox]) -> list[Any]:
    return [item for item in inboxes["anon"].items if item["data"]["table"] == "unrelated"]


def compare(known: Staged, role: str, received: list[dict[str, Any]]) -> None:
    """By key where the event has one; events without any (withheld) are counted."""
    by_key: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    withheld: dict[tuple[str, str], int] = defaultdict(int)
    for data in received:
        name = f"{data['schema']}.{data['table']}"
        values = data.get("record") or data.get("old_record") or {}
        by_key[name, data["type"], ""].append(data)
        if not values:
            withheld[name, data["type"]] += 1
        for _, _, key, _, _ in [c for c in known.changes if c[0] == name]:
            if set(key.split("|")) <= {str(value) for value in values.values()}:
                by_key[name, data["type"], key].append(data)
    keys = {(name, whose): key for name, whose, key, _, _ in known.changes}
    for delivery in known.expected:
        if delivery.role != role:
            continue
        assert not delivery.undecided
        place = (delivery.table, delivery.event.value)
        found = by_key[(*place, keys[delivery.table, delivery.whose])]
        if delivery.columns == ():
            assert withheld[place], delivery
            errors = {error for data in by_key[(*place, "")] for error in data.get("errors") or ()}
            assert errors == ({delivery.error} if delivery.error else set()), delivery
        elif delivery.columns is None:
            assert not found, delivery
        else:
            assert found, delivery
            values = found[0].get("record") if delivery.event.value != "DELETE" else found[0]["old_record"]
            assert set(values or ()) == set(delivery.columns), delivery
