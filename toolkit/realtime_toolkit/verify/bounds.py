"""Values that fall into a partition, read from its bounds as Postgres writes them. Pure."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from realtime_toolkit.verify.values import literals, plain

if TYPE_CHECKING:
    from realtime_toolkit.verify.tables import Column, Partition, Table

_RANGE = re.compile(r"FOR VALUES FROM \((?P<low>.*)\) TO \((?P<high>.*)\)", re.DOTALL)
_LIMIT = re.compile(r"MINVALUE|MAXVALUE|'(?:[^']|'')*'|-?[\d.]+")
_FAR = {"timestamp": "1900-01-01", "date": "1900-01-01", "integer": "-1", "bigint": "-1", "smallint": "-1"}
"""What hardly any partition but the default one takes."""


def inside(table: Table, column: Column, number: int) -> str | None:
    """A value of the key of a partition that falls into it, another for every ``number`` where there is room.

    ``None`` is null where the partition is the one for nulls, or a type that is not known.
    """
    for partition in table.partitions:
        if column.name in partition.columns:
            return _of(partition, column, number)
    return plain(column, number)


def _of(partition: Partition, column: Column, number: int) -> str | None:
    if partition.bound == "DEFAULT":
        far = _FAR.get(column.base.split(" ")[0], plain(column, number))
        return far if number % 2 else plain(column, number)
    limits = _RANGE.match(partition.bound)
    if limits is not None:
        place = partition.columns.index(column.name)
        low, high = (_limits(limits[end])[place] for end in ("low", "high"))
        return _between(low, high, column, number)
    if " IN (" in partition.bound:
        values = literals(partition.bound)
        return values[0] if values else None
    return plain(column, number)  # by hash: whatever comes next, until one falls into it


def _limits(text: str) -> list[str | None]:
    """The limits of a range, column by column; ``None`` for one that is none."""
    return [
        None if found.endswith("VALUE") else found.strip("'").replace("''", "'")
        for found in _LIMIT.findall(text)
    ]


def _between(low: str | None, high: str | None, column: Column, number: int) -> str | None:
    """A little above the lower limit, or a little below the upper one where there is no lower."""
    if low is None and high is None:
        return plain(column, number)
    try:
        if column.base.startswith("timestamp"):
            return _moment(low, high, number)
        if column.base == "date":
            return _day(low, high, number)
        if column.base in ("smallint", "integer", "bigint", "numeric"):
            return _integer(low, high, number)
    except ValueError:
        pass
    if low is not None and column.base in ("text", "character varying"):
        return f"{low}{number}"
    return low


def _moment(low: str | None, high: str | None, number: int) -> str:
    if low is None:
        return (datetime.fromisoformat(str(high)) - timedelta(seconds=number)).isoformat(" ")
    return (datetime.fromisoformat(low) + timedelta(seconds=number % 3600)).isoformat(" ")


def _day(low: str | None, high: str | None, number: int) -> str:
    if low is None:
        return (date.fromisoformat(str(high)) - timedelta(days=number % 28 + 1)).isoformat()
    first = date.fromisoformat(low)
    room = (date.fromisoformat(high) - first).days if high else 28
    return (first + timedelta(days=number % max(room, 1))).isoformat()


def _integer(low: str | None, high: str | None, number: int) -> str:
    if low is None:
        return str(int(str(high)) - 1 - number)
    room = int(high) - int(low) if high else 1_000_000
    return str(int(low) + number % max(room, 1))
