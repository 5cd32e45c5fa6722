"""Other values for the columns that policies look at: flags, states, nulls, the constants they compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from realtime_toolkit.verify.names import mentioned
from realtime_toolkit.verify.seeding import Who, literal, relation
from realtime_toolkit.verify.values import literals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.access import Access
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.seeding import World
    from realtime_toolkit.verify.tables import Column, Model, Table


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """Another value for a column of Mallory's row."""

    table: str
    column: str
    value: str | None


def single_changes(model: Model, belonging: Belonging, world: World) -> Iterator[Change]:
    """Every single change of a row of Mallory's that some policy could notice."""
    texts = " ".join(
        text
        for table in model.tables.values()
        for policy in table.policies
        for text in (policy.text, *policy.functions.values())
    )
    for (name, who), row in world.rows.items():
        table = model.tables[name]
        if who is not Who.MALLORY or name not in belonging.owned:
            continue
        for column in table.columns:
            if is_free(table, column, belonging) and mentioned(column.name, texts):
                yield from (
                    Change(name, column.name, v) for v in _values(table, column) if v != row[column.name]
                )


def is_free(table: Table, column: Column, belonging: Belonging) -> bool:
    """Neither key nor owner, so another value leaves the row the same person's row."""
    held = {*table.key, *table.partition_key, *(name for key in table.foreign_keys for name in key.columns)}
    held |= belonging.users.get(table.name, frozenset()) | belonging.tenants.get(table.name, frozenset())
    held |= belonging.mails.get(table.name, frozenset())
    return column.name not in held and not column.generated


def _values(table: Table, column: Column) -> list[str | None]:
    found: list[str | None] = [] if column.not_null else [None]
    if column.base == "boolean":
        found += ["true", "false"]
    elif column.kind == "e":
        found += column.labels
    else:
        texts = [check.definition for check in table.checks if column.name in check.columns]
        texts += [policy.text for policy in table.policies if mentioned(column.name, policy.text)]
        number = column.base in ("smallint", "integer", "bigint", "numeric")
        told = (value for text in texts for value in literals(text))
        found += [v for v in told if v.lstrip("-").replace(".", "").isdigit() == number][:12]
        if column.base.startswith("timestamp") or column.base == "date":
            found += ["2000-01-01", "2100-01-01"]
        elif column.base in ("text", "character varying"):
            found.append("probe")
        elif number:
            found += ["0", "1000000"]
    return list(dict.fromkeys(found))


def update(access: Access, table: Table, change: Change, world: World) -> sql.Composed:
    """The statement that makes the change."""
    return sql.SQL("update {} set {} = {} where {}").format(
        relation(table),
        sql.Identifier(change.column),
        literal(table, change.column, change.value),
        access.where(table, world.rows[change.table, Who.MALLORY]),
    )
