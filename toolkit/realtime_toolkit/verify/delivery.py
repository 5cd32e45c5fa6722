"""The delivery matrix: who receives which change with which columns, by Realtime's own rules.

The rules, measured on the genuine server (shared/realtime-wire/FACTS.md): only the publication's tables and
its insert/update/delete flags count; INSERT and UPDATE go to whoever sees the row after the change; a DELETE
to everybody who is subscribed, with the primary key alone where RLS is on; columns the role may not select are
missing; without a primary key the record is empty (Error 400), without SELECT on the key too (Error 401).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.probing import ROLES, Answer, attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.access import Access
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Model, Table


class Event(StrEnum):
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True)
class Delivery:
    table: str
    role: str
    event: Event
    whose: Whose
    columns: tuple[str, ...] | None
    """Of ``record``, or of ``old_record`` in a DELETE; ``None``: not delivered."""
    error: str = ""
    """What Realtime writes in ``errors``."""
    undecided: str = ""


class Deliveries:
    def __init__(self, connection: Connection, model: Model, access: Access) -> None:
        self._connection = connection
        self._model = model
        self._access = access

    def of(self, table: Table) -> Iterator[Delivery]:
        publication = self._model.publication
        if publication is None:
            return
        published = {
            Event.INSERT: publication.insert,
            Event.UPDATE: publication.update,
            Event.DELETE: publication.delete,
        }
        for role in ROLES:
            selectable = self._selectable(table, role)
            for whose in self._access.rows_of(table):
                for event in Event:
                    if published[event]:
                        yield self._delivery(table, role, event, whose, selectable)
                    else:
                        yield Delivery(table.name, role, event, whose, None)

    def _delivery(
        self, table: Table, role: str, event: Event, whose: Whose, selectable: tuple[str, ...]
    ) -> Delivery:
        place = (table.name, role, event, whose)
        if event is Event.DELETE:
            return Delivery(*place, self._deleted(table, selectable))
        if not table.key:
            return Delivery(*place, (), "Error 400: Bad Request, no primary key")
        if not set(table.key) <= set(selectable):
            return Delivery(*place, (), "Error 401: Unauthorized")
        if not table.rls:
            return Delivery(*place, selectable)
        seen = self._seen(table, role, event, whose)
        if seen is Answer.ALLOW:
            return Delivery(*place, selectable)
        if seen is Answer.DENY:
            return Delivery(*place, None)
        return Delivery(*place, None, undecided=seen.value)

    def _deleted(self, table: Table, selectable: tuple[str, ...]) -> tuple[str, ...]:
        if table.key and not set(table.key) <= set(selectable):
            return ()
        known = set(table.key) if table.rls else set(table.identity)
        return tuple(name for name in selectable if name in known)

    def _seen(self, table: Table, role: str, event: Event, whose: Whose) -> Answer:
        """Whether the row is visible once the change has happened."""
        if event is Event.INSERT:
            return self._access.answer(table, whose, Command.SELECT, role).answer
        look = self._access.probe(table, whose, Command.SELECT, role)
        change = self._access.probe(table, whose, Command.UPDATE, "service_role")
        if look is None or change is None:
            return Answer.UNDECIDED
        person = self._access.actors[role]
        seen = attempt(
            self._connection,
            person,
            look.statement,
            before=(self._access.voice(table, whose), change.statement),
        )
        # What a trigger or constraint refuses to ourselves says nothing of who would see it.
        return seen.answer if seen.answer in (Answer.ALLOW, Answer.DENY) else Answer.UNDECIDED

    def _selectable(self, table: Table, role: str) -> tuple[str, ...]:
        """Columns the role may select, in the table's order; none without USAGE on the schema."""
        row = self._connection.execute(
            "select coalesce(array_agg(a.attname::text order by a.attnum), '{}') from pg_catalog.pg_attribute a "
            "join pg_catalog.pg_class c on c.oid = a.attrelid "
            "where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' "
            "and has_schema_privilege(%s, c.relnamespace, 'usage') "
            "and has_column_privilege(%s, a.attrelid, a.attnum, 'select')",
            (table.name, role, role),
        ).fetchone()
        return tuple(row[0]) if row else ()
