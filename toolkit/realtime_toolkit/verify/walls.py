"""Permissive policies that whoever is signed in satisfies, where another one beside them asks whose the row is.

Such a policy was meant as a wall (a second factor, no guests, nobody who is banned, nothing that is archived); not being
restrictive it is joined with OR and opens what the other one keeps. Found by trying: what it asks is put to a user of whom
no table knows anything, about a row of a stranger's.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from realtime_toolkit.verify.access import Command
from realtime_toolkit.verify.catalogue import facts
from realtime_toolkit.verify.names import parts
from realtime_toolkit.verify.probing import Actor, identity
from realtime_toolkit.verify.seeding import Who, literal
from realtime_toolkit.verify.session import set_local, settings
from realtime_toolkit.verify.trials import Opening, Walls
from realtime_toolkit.verify.values import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.seeding import Row, World
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Model, Table

_QUERY = Path(__file__).resolve().with_name("walls.sql")
_COMMANDS = {
    "r": (Command.SELECT,),
    "a": (Command.INSERT,),
    "w": (Command.UPDATE,),
    "d": (Command.DELETE,),
    "*": tuple(Command),
}
_HIDING = re.compile(
    r"(^|_)(archived|deleted|removed|hidden|banned|blocked|suspended|disabled|locked|trashed|withdrawn|revoked|quarantined|spam)(_|$)",
    re.IGNORECASE,
)
"""Columns that take a row away from people, as ``published`` and ``shared`` give it to them."""
_WALL = re.compile(
    r"hide|exclude|isolat|(^|\W|_)(wall|must|require[sd]?|enforce[sd]?|restrict\w*|deny|block|prevent|no|not|never|without)(\W|_|$)",
    re.IGNORECASE,
)
"""What somebody calls a policy that is to take away."""
_ISOLATION = re.compile(r"isolat|boundary|(^|\W|_)(wall|fence|enforce[sd]?|must)(\W|_|$)", re.IGNORECASE)
_SIGNED_IN = re.compile(r"auth\.role\(\)", re.IGNORECASE)
_FRESH = Actor(
    "authenticated",
    {
        "sub": str(uuid.uuid5(NAMESPACE, "somebody new")),
        "role": "authenticated",
        "aud": "authenticated",
        "email": "new@probe.invalid",
        "aal": "aal2",
        "is_anonymous": False,
        "app_metadata": {"provider": "email"},
        "user_metadata": {"email_verified": True},
    },
)
"""A user who has just signed in, with all that anybody can have by doing so."""


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    table: str
    command: str
    """``pg_policy.polcmd``."""
    qual: str
    wcheck: str
    personal: bool
    everybody: bool
    """Everybody may read the table's rows by some policy or other."""
    columns: frozenset[str]
    """Of its own table that it asks."""

    def asks(self, command: Command) -> str:
        """What it asks for this command; empty where it is not about it."""
        if command not in _COMMANDS[self.command]:
            return ""
        return self.wcheck or self.qual if command is Command.INSERT else self.qual


def find_openings(
    connection: Connection,
    model: Model,
    belonging: Belonging,
    world: World,
    schemas: Sequence[str] = (),
) -> Walls:
    """What opens what others keep, in the caller's transaction."""
    with connection.transaction(force_rollback=True):
        settings(connection, schemas)
        set_local(connection, "search_path", "pg_catalog")
        rules = _read(connection)
    by_table: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_table[rule.table].append(rule)
    walls = Walls()
    for name, those in by_table.items():
        if (name, Who.MALLORY) in world.rows:
            if name in belonging.owned:
                trial = Trial(
                    connection, model.tables[name], those, belonging, world.rows[name, Who.MALLORY], walls
                )
                trial.judge()
        elif name in world.failed and len(those) > 1:
            walls.undecided[name] = f"no row could be made: {world.failed[name]}"
    return walls


def _read(connection: Connection) -> list[Rule]:
    row = connection.execute(f"{facts()}\n{_QUERY.read_text(encoding='utf-8')}".encode()).fetchone()
    assert row is not None
    return [Rule(**{**item, "columns": frozenset(item["columns"])}) for item in json.loads(row[0])]


class Trial:
    """The policies of one table."""

    def __init__(
        self,
        connection: Connection,
        table: Table,
        rules: Sequence[Rule],
        belonging: Belonging,
        row: Row,
        walls: Walls,
    ) -> None:
        self._connection = connection
        self._table = table
        self._rules = rules
        self._belonging = belonging
        self._row = row
        self._walls = walls

    def judge(self) -> None:
        table = self._table
        for rule in self._rules:
            opened = dict(self._opened(rule))
            beside = tuple(dict.fromkeys(opened.values()))
            if opened:
                self._walls.openings.append(
                    Opening("WAL001", table.name, rule.name, beside, frozenset(opened))
                )
            elif _is_for_the_signed_in(rule, self._rules, table, self._belonging):
                only = frozenset({Command.SELECT})
                self._walls.openings.append(Opening("WAL002", table.name, rule.name, (), only))

    def _opened(self, rule: Rule) -> Iterator[tuple[Command, str]]:
        """Commands for which it opens what another one keeps, with the name of that."""
        for command in Command:
            asked = rule.asks(command)
            if not asked or _is_constant(asked):
                continue  # RLS010 has said that
            kept = [r for r in self._rules if r is not rule and r.personal and r.columns and r.asks(command)]
            isolated = [r for r in kept if _is_isolation(rule, r, self._table, self._belonging)]
            if isolated:
                yield command, isolated[0].name
            elif kept and _is_wall(rule, kept, self._table, self._belonging) and self._is_true(rule, asked):
                yield command, kept[0].name

    def _is_true(self, rule: Rule, asked: str) -> bool:
        """Whether somebody new satisfies it for the stranger's row."""
        columns = sql.SQL(", ").join(
            sql.SQL("{}{} as {}").format(
                literal(self._table, c.name, self._row.get(c.name)),
                sql.SQL(
                    "" if self._row.get(c.name) is not None else "::" + c.type
                ),  # a null has no type by itself
                sql.Identifier(c.name),
            )
            for c in self._table.columns
        )
        # A view keeps the functions that it calls, as a policy does, whoever may use their schemas.
        view = sql.SQL(
            "create temporary view toolkit_asked with (security_invoker = true) as "
            "select coalesce(({})::boolean, false) from (select {}) as {}"
        ).format(sql.SQL(asked), columns, sql.Identifier(parts(self._table.name)[-1]))
        try:
            with self._connection.transaction(force_rollback=True):
                self._connection.execute(view)
                self._connection.execute("grant select on toolkit_asked to authenticated")
                self._connection.execute(identity(_FRESH))
                found = self._connection.execute("select * from pg_temp.toolkit_asked").fetchone()
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            if error.sqlstate != "42501":  # RLS005 tells of that
                self._walls.undecided[f"policy {rule.name} on {self._table.name}"] = (
                    f"it raises {error.sqlstate}"
                )
            return False
        return found is not None and bool(found[0])


def _is_constant(asked: str) -> bool:
    return re.fullmatch(r"\(*(true|false)\)*", asked, re.IGNORECASE) is not None


def _is_wall(rule: Rule, kept: Sequence[Rule], table: Table, belonging: Belonging) -> bool:
    """It asks about the caller alone, or about a column that hides rows.

    Everybody's posts but the deleted ones, and one's own deleted ones: that is a design, unless the name tells otherwise
    or what is beside it asks for a tenant.
    """
    if not rule.columns:
        return True
    if not all(_HIDING.search(name) for name in rule.columns):
        return False
    users = belonging.users.get(table.name, frozenset())
    return bool(_WALL.search(rule.name)) or any(not r.columns & users for r in kept)


def _is_isolation(rule: Rule, kept: Rule, table: Table, belonging: Belonging) -> bool:
    """A policy called an isolation beside one that asks for the owner: each opens what the other keeps."""
    users = belonging.users.get(table.name, frozenset())
    named = _ISOLATION.search(rule.name) is not None and _ISOLATION.search(kept.name) is None
    return named and bool(rule.columns) and not rule.columns & users and bool(kept.columns & users)


def _is_for_the_signed_in(rule: Rule, rules: Sequence[Rule], table: Table, belonging: Belonging) -> bool:
    """``auth.role() = 'authenticated'`` as all that is asked of who reads rows that belong to somebody.

    Not of profiles, and not where people write their own rows for all to read: then that is what was meant.
    """
    asked = rule.asks(Command.SELECT)
    if not _SIGNED_IN.search(asked) or rule.personal or rule.columns or _is_of_servers(asked):
        return False  # of a policy for the server RLS013 tells
    users = belonging.users.get(table.name, frozenset())
    if len(table.key) == 1 and table.key[0] in users:
        return False
    own = [r for r in rules if r is not rule and r.columns & users and r.command in ("a", "w", "d")]
    return not own or table.name in belonging.shared


def _is_of_servers(asked: str) -> bool:
    return "'service_role'" in asked and "'authenticated'" not in asked
