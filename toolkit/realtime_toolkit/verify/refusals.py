"""What an error of the database says about a row that was refused. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.names import parts

if TYPE_CHECKING:
    from realtime_toolkit.verify.tables import Check, Table, Unique

_FUNCTION = re.compile(r"^(?:PL/pgSQL|SQL|\w+) function ((?:\"(?:[^\"]|\"\")+\"|[^\s\"])+)", re.MULTILINE)


class KeptOutError(psycopg.errors.TriggeredActionException):
    """A trigger made no row of an INSERT, and said nothing."""


def is_about(table: Table, error: psycopg.Error) -> bool:
    """Whether the constraint or column that the error names is this table's, not that of one a trigger writes to."""
    diag = error.diag
    return diag.table_name is None or parts(table.name) == (diag.schema_name, diag.table_name)


def unique(table: Table, error: psycopg.Error) -> Unique | None:
    name = error.diag.constraint_name
    return next((u for u in table.uniques if u.name == name and is_about(table, error)), None)


def check(table: Table, error: psycopg.Error) -> Check | None:
    name = error.diag.constraint_name
    # A domain's error names no table.
    return next((c for c in table.checks if c.name == name and is_about(table, error)), None)


def function(error: psycopg.Error) -> str | None:
    """The function in which it happened, with its arguments' types; the innermost of several."""
    found = _FUNCTION.search(error.diag.context or "")
    return found[1] if found is not None else None


def line(error: psycopg.Error) -> str:
    """Where in that function, as the database says it."""
    return next((text for text in (error.diag.context or "").splitlines() if _FUNCTION.match(text)), "")


def is_line(place: str) -> bool:
    """Whether that is a place in a function, and no constraint's name."""
    return bool(_FUNCTION.match(place))


def why(error: psycopg.Error, table: str) -> str:
    """The SQLSTATE, and where: the column or constraint, of another table too, and the function that did it."""
    if isinstance(error, KeptOutError):
        return "a BEFORE INSERT trigger returns null"
    diag = error.diag
    place = diag.column_name or diag.constraint_name or diag.datatype_name
    told = [error.sqlstate or "no value was found that every constraint takes"]
    if place:
        other = f"{diag.schema_name}.{diag.table_name}" if diag.table_name else ""
        far = bool(other) and parts(table) != (diag.schema_name, diag.table_name)
        told.append(f"at {other}.{place}" if far else f"at {place}")
    inside = function(error)
    if inside is not None:
        told.append(f"in function {inside}")
    return shown(" ".join(told))
