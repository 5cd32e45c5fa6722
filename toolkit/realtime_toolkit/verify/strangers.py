"""Strangers' rows that are reached: which of it is a flaw, and through which policies. Pure.

Every ``allow`` for anon or for another tenant is a finding, one a table and cause, unless the schema says that it is meant:
a flag shares the row (``governed``), or the only policies that have a say in reading are for everybody.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.access import Command
from realtime_toolkit.verify.model import Finding, Level, Rule
from realtime_toolkit.verify.names import mentioned, quoted
from realtime_toolkit.verify.sharing import PUBLIC
from realtime_toolkit.verify.tables import USERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from realtime_toolkit.verify.access import Cell
    from realtime_toolkit.verify.matrices import Matrices
    from realtime_toolkit.verify.tables import Policy, Table

ACC001 = Rule("ACC001", "access", "A user can read rows of another tenant or user")
ACC002 = Rule("ACC002", "access", "A user can write rows of another tenant or user")

# Where these say already that a table, or a policy, is open, the matrix adds nothing.
_OPEN_TABLES = frozenset({"RLS001", "RLS012", "PUB010"})
_OPEN_POLICIES = frozenset({"RLS010", "RLS011", "WAL001", "WAL002", "WAL004"})
_GAPS = tuple(f"WAL00{number}" for number in range(1, 5))


class Told:
    """What the static checks have said already."""

    def __init__(self, found: Iterable[Finding]) -> None:
        self._objects = {(f.code, f.object) for f in found}
        self._all = any(code == "ROL001" for code, _ in self._objects)
        """A role or a setting lets clients past every policy: what they reach then is no news."""

    def covers(self, table: str, policies: Collection[str]) -> bool:
        """Whether this table, or each of these policies of it, is known to be open."""
        if self._all or self._has_a_gap(table):
            return True
        if any((code, shown(table)) in self._objects for code in _OPEN_TABLES):
            return True
        return bool(policies) and all(self._is_open(table, name) for name in policies)

    def _has_a_gap(self, table: str) -> bool:
        """A wall of this table is none: what comes through is its consequence."""
        ends = (shown(table), f" on {shown(table)}")
        return any(
            code in _GAPS and (name == ends[0] or name.endswith(ends[1])) for code, name in self._objects
        )

    def _is_open(self, table: str, policy: str) -> bool:
        said = {shown(f"policy {name} on {table}") for name in (policy, quoted(policy))}
        return any((code, name) in self._objects for code in _OPEN_POLICIES for name in said)


def readable(matrices: Matrices, found: Iterable[Finding]) -> Iterator[Finding]:
    told, roles = Told(found), defaultdict[str, dict[str, None]](dict)
    ways = defaultdict[str, dict[str, None]](dict)
    for cell in _strange(matrices, told, (Command.SELECT,)):
        table = matrices.tables[cell.table]
        names = matrices.ways.get(cell.place, ())
        if not _is_public(table, names, newcomer=cell.table in matrices.welcoming):
            roles[cell.table][cell.role] = None
            ways[cell.table].update(dict.fromkeys(names))
    for name, those in roles.items():
        yield _read(matrices.tables[name], " and ".join(those), tuple(ways[name]))


def _read(table: Table, roles: str, ways: tuple[str, ...]) -> Finding:
    asking = [p.name for p in _asking(table) if p.name not in ways]
    beside = f", although {policies(asking)} beside it asks who is reading" if asking else ""
    heard = ", and so receives their changes" if table.published else ""
    return Finding.of(
        "ACC001",
        Level.ERROR,
        table.name,
        f"{roles} can read rows of {table.name} that belong to another tenant or user{heard}, "
        f"through {policies(ways)}{beside}.",
        f"-- {policies(ways)} on {table.name} must ask whose the row is; "
        "or drop it, where another one lets in who should be",
        f"ACC001 {table.name} {roles}",
    )


def _is_public(table: Table, ways: Collection[str], *, newcomer: bool) -> bool:
    """Read by everybody on purpose: no policy through which it goes asks who reads, and none beside it, or its name says so.

    ``newcomer``: somebody just signed up reads it too, so a list that is asked for keeps a few out, whoever is banned say.
    """
    through = [p for p in table.policies if p.name in ways]
    if any(_walls(table)):
        return False
    if through and newcomer and all(_bars(table, p) for p in through):
        return True
    if any(p.personal for p in through):
        return False
    if through and all(_is_for_visitors(table, p) for p in through):
        return True
    return not _asking(table) or all(PUBLIC.search(p.name) for p in through)


def _bars(table: Table, policy: Policy) -> bool:
    """Whether it asks some list about the reader, and nothing about the row."""
    asks = "FROM " in policy.text or any(not name.startswith("auth.") for name in policy.functions)
    return policy.personal and asks and not asks_of_the_row(table, policy)


def asks_of_the_row(table: Table, policy: Policy) -> bool:
    """Whether who asks, and something in the row, decide."""
    return policy.personal and any(mentioned(c.name, policy.using or "") for c in table.columns)


_PERSON = re.compile(r"user|author|owner|profile|creator|member|_by$", re.IGNORECASE)


def _is_for_visitors(table: Table, policy: Policy) -> bool:
    """A policy of its own, for anon too, that asks something of rows that are people's and no tenant's: posts but the deleted."""
    of_people = all(k.target == USERS or _PERSON.search(" ".join(k.columns)) for k in table.foreign_keys)
    said = any(mentioned(c.name, policy.using or "") for c in table.columns)
    return of_people and said and "anon" in policy.roles and policy.command == "r"


def _asking(table: Table) -> list[Policy]:
    """Permissive policies with a say in reading that ask who reads."""
    return [p for p in table.policies if p.permissive and p.personal and p.command in "r*"]


def _walls(table: Table) -> Iterator[Policy]:
    """Restrictive ones that ask whose the row is: a column of it is spoken of."""
    for policy in table.policies:
        if not policy.permissive and policy.command in "r*" and asks_of_the_row(table, policy):
            yield policy


def writable(matrices: Matrices, found: Iterable[Finding]) -> Iterator[Finding]:
    told = Told(found)
    commands: dict[str, dict[Command, None]] = defaultdict(dict)
    roles: dict[str, dict[str, None]] = defaultdict(dict)
    ways: dict[str, dict[str, None]] = defaultdict(dict)
    for cell in _strange(matrices, told, (Command.INSERT, Command.UPDATE, Command.DELETE)):
        if cell.command is Command.INSERT and cell.table not in matrices.named:
            continue  # nobody's yet: founding an organisation
        commands[cell.table][cell.command] = None
        roles[cell.table][cell.role] = None
        ways[cell.table].update(dict.fromkeys(matrices.ways.get(cell.place, ())))
    for name, those in roles.items():
        yield _written(name, " and ".join(those), tuple(commands[name]), tuple(ways[name]))


def _written(table: str, roles: str, commands: tuple[Command, ...], ways: tuple[str, ...]) -> Finding:
    done = ", ".join(command.value for command in commands)
    return Finding.of(
        "ACC002",
        Level.ERROR,
        table,
        f"{roles} can {done} rows of {table} in the name of another tenant or user, through {policies(ways)}.",
        f"-- {policies(ways)} on {table} must ask whose the row is: in USING for a row that is there, "
        "in WITH CHECK for the row that is written",
        f"ACC002 {table} {roles} {done}",
    )


def _strange(matrices: Matrices, told: Told, commands: Collection[Command]) -> Iterator[Cell]:
    """Cells in which a stranger's row is reached, and nothing says yet why."""
    for cell in matrices.access:
        strange = cell.command in commands and cell.reaches_a_stranger and cell.place not in matrices.governed
        if strange and not told.covers(cell.table, matrices.ways.get(cell.place, ())):
            yield cell


def policies(names: Collection[str]) -> str:
    """``policy a``, ``policies a and b``; names as SQL writes them."""
    if not names:
        return "its privileges"
    return f"{'policy' if len(names) == 1 else 'policies'} {' and '.join(map(quoted, names))}"
