"""Rows as SQL: every value a literal that is cast to its column's type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from realtime_toolkit.verify.people import Row
    from realtime_toolkit.verify.tables import Table


def relation(table: Table) -> sql.SQL:
    return sql.SQL(table.name)  # quoted by regclass


def literal(table: Table, name: str, value: str | None) -> sql.Composable:
    if value is None:
        return sql.SQL("null")
    return sql.Literal(value) + sql.SQL("::" + table.column(name).type)


def equals(table: Table, name: str, value: str | None) -> sql.Composable:
    return sql.SQL("{} = {}").format(sql.Identifier(name), literal(table, name, value))


def as_texts(table: Table) -> sql.Composed:
    """The list that selects or returns a whole row, each value as text."""
    return sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c.name)) for c in table.columns)


def as_row(table: Table, values: tuple[str | None, ...]) -> Row:
    return dict(zip((c.name for c in table.columns), values, strict=True))


def insert_statement(table: Table, row: Row) -> sql.Composed:
    if not row:
        return sql.SQL("insert into {} default values").format(relation(table))
    return sql.SQL("insert into {} ({}) values ({})").format(
        relation(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(literal(table, name, value) for name, value in row.items()),
    )


def spelled_out(table: Table, row: Row) -> sql.Composed:
    """An INSERT that makes this very row, keys and defaults included; nothing happens where it is there."""
    kept = {c.name: row[c.name] for c in table.columns if c.identity or not c.generated}
    return sql.SQL("insert into {} ({}) overriding system value values ({}) on conflict do nothing").format(
        relation(table),
        sql.SQL(", ").join(map(sql.Identifier, kept)),
        sql.SQL(", ").join(literal(table, name, value) for name, value in kept.items()),
    )
