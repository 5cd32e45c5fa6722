"""Which of the values of a role is an ordinary member's, and which has the most rights. Pure.

Read from what the schema says: an enum's labels, a check's list, the constants that policies ask for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from realtime_toolkit.verify.names import mentioned
from realtime_toolkit.verify.values import constant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from realtime_toolkit.verify.tables import Column, Table

_ROLE = re.compile(
    r"(^|_)(roles?|ranks?|level|permissions?|access)$|^(member|user|account|membership)_?type$", re.I
)
_FLAG = re.compile(r"^(is_?)?(super_?)?(admin|administrator|superuser|owner|staff|moderator)$", re.I)
_HIGHEST = (
    "owner", "super_admin", "superadmin", "admin", "administrator", "root", "superuser", "org_admin", "org:admin",
    "tenant_admin", "manager", "moderator", "maintainer", "staff", "lead", "director", "teacher", "editor", "write",
)  # fmt: skip
_ORDINARY = (
    "member", "user", "viewer", "reader", "guest", "basic", "student", "customer", "client", "employee", "participant",
    "subscriber", "player", "patient", "read", "view", "contributor", "collaborator", "worker", "author",
)  # fmt: skip


def is_flag(column: Column) -> bool:
    """``is_admin`` and the like."""
    return column.base == "boolean" and bool(_FLAG.search(column.name))


def ranks(
    table: Table, column: Column, texts: Iterable[tuple[str, str]]
) -> tuple[str | None, str | None] | None:
    """The value of an ordinary member and that with the most rights, as far as the schema says; ``None``: it is no role.

    ``texts`` are the policies with the table they are about, and functions with none. A value is ``None`` where the default
    will do, or none is known to have more rights.
    """
    if is_flag(column):
        return None, "true"
    texts = list(texts)
    listed = _listed(table, column)
    if _ROLE.search(column.name):
        told = listed or tuple(v for _, text in texts for v in compared(column.name, text))
        told = told or tuple(map(str, constant(column)))
        return (ordinary(told, constant(column)), highest(told)) if told else None
    # A department, say, that other tables' policies ask for.
    asked = [
        v for name, text in texts if name != table.name for v in compared(column.name, text) if v in listed
    ]
    if not asked:
        return None
    others = [value for value in listed if value not in asked]
    return (constant(column) or others or [ordinary(asked, ())])[0], highest(asked) or asked[0]


def _listed(table: Table, column: Column) -> tuple[str, ...]:
    """All values that the column can hold, where that is said."""
    if column.kind == "e":
        return column.labels
    if column.base not in ("text", "character varying", "citext"):
        return ()
    checks = [check.definition for check in table.checks if check.columns == (column.name,)]
    return tuple(dict.fromkeys(v for check in checks if "~" not in check for v in _constants(check)))


def compared(name: str, text: str) -> Iterator[str]:
    """The constants that an expression compares this column with."""
    if not mentioned(name, text):
        return
    place = rf"(?<![\w$]){re.escape(name)}\"?\)*(?:::[\w. ]+)?\)*"
    for found in re.finditer(
        rf"{place}\s*(?:=|<>|!=|\bin\b)\s*((?:any\s*)?[(\s]*(?:array\[)?'[^\])]*)", text, re.IGNORECASE
    ):
        yield from _constants(found[1])


def _constants(text: str) -> list[str]:
    return [found.replace("''", "'") for found in re.findall(r"'((?:[^']|'')*)'", text) if found]


def ordinary(found: Sequence[str], default: Sequence[str | None]) -> str:
    """The value of one who has no more rights than others."""
    for value in (*default, *(v for word in _ORDINARY for v in found if v.lower() == word)):
        if value is not None and _height(value) is None:
            return value
    lower = [value for value in found if _height(value) is None]
    return lower[0] if lower else max(found, key=lambda value: _height(value) or 0)


def highest(found: Sequence[str]) -> str | None:
    """The value with the most rights; ``None`` where none is known to have more."""
    ranked = [value for value in found if _height(value) is not None]
    return min(ranked, key=lambda value: _height(value) or 0, default=None)


def _height(value: str) -> int | None:
    """The place from the top; ``None``: not above others."""
    word = value.lower()
    return _HIGHEST.index(word) if word in _HIGHEST else None
