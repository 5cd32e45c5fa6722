"""Conditions of policies that can never hold: told by the planner, which folds them away.

Postgres plans ``select … where <condition>`` with what is known of every token put in its place, and with the table's
constraints believed (``constraint_exclusion``). A plan that reads nothing is a proof: ``owner = null``, a level of assurance
that no token has, a status that the column's CHECK does not allow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from realtime_toolkit.verify.folding import Token, alternatives, arms, folded
from realtime_toolkit.verify.missed import Dead
from realtime_toolkit.verify.names import mentioned
from realtime_toolkit.verify.probing import sqlstate_of, undone
from realtime_toolkit.verify.seeding import Who
from realtime_toolkit.verify.values import literals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.stage import Stage
    from realtime_toolkit.verify.tables import Policy, Table

_ASKS = re.compile(r"= NULL::|<> NULL::|NULL::\w+ =|\bIS NULL\b|'aal'|'role'|auth\.role\(\)|'is_anonymous'")
_CONSTANT = re.compile(r"\(*(false|null::boolean|\d+ = \d+)\)*", re.IGNORECASE)
"""Written to shut somebody out: no mistake."""
_EMPTY = re.compile(r'\(*(?:[\w$]+|"(?:[^"]|"")+") IS NULL\)*')
"""``owner_id IS NULL`` where that cannot be: it does no harm beside other alternatives."""


def dead_policies(stage: Stage) -> Iterator[Dead]:
    """Of every table with RLS that is no partition: there the same policies stand on each."""
    roles = _roles(stage.connection)
    for table in stage.model.tables.values():
        if table.rls and table.kind == "r" and not table.partitions:
            for policy in table.policies:
                if policy.command in ("r", "*") and policy.using and policy.roles:
                    yield from _dead(stage.connection, table, policy, roles)


def _dead(connection: Connection, table: Table, policy: Policy, roles: frozenset[str]) -> Iterator[Dead]:
    text = policy.using or ""
    if _CONSTANT.fullmatch(text) or not (_ASKS.search(text) or _speaks_of_a_check(table, text)):
        return
    tokens = list(_tokens(policy, roles & set(literals(text))))
    several = len(alternatives(text)) > 1
    found = [
        arm
        for arm in arms(text)
        if not (several and (_EMPTY.fullmatch(arm) or _CONSTANT.fullmatch(arm)))
        and all(_reads_nothing(connection, table, folded(arm, token)) for token in tokens)
    ]
    widest = tuple(arm for arm in found if not any(arm in other for other in found if other != arm))
    if found:
        whole = all(arm in found for arm in alternatives(text))
        yield Dead(table.name, policy.name, policy.permissive, widest, whole)


def _tokens(policy: Policy, named: frozenset[str]) -> Iterator[Token]:
    """Every kind of token that the policy may be asked by; with the database roles that it names, too."""
    if "anon" in policy.roles:
        yield Token("anon", None)
    if "authenticated" in policy.roles:
        for aal in ("aal1", "aal2"):
            for anonymous in (False, True):
                yield Token("authenticated", Who.ALICE.user_id, aal, anonymous)
    yield from (Token(role, Who.ALICE.user_id) for role in sorted(named))


def _speaks_of_a_check(table: Table, text: str) -> bool:
    return "'" in text and any(mentioned(column, text) for check in table.checks for column in check.columns)


def _reads_nothing(connection: Connection, table: Table, condition: str) -> bool:
    query = f"explain (format json, costs off) select from only {table.name} where {condition}"
    with undone(connection):
        try:
            connection.execute(b"set local constraint_exclusion = on")
            row = connection.execute(query.encode()).fetchone()
        except psycopg.Error as error:
            sqlstate_of(error)
            return False
    plan = row[0][0]["Plan"] if row else {}
    return plan.get("Node Type") == "Result" and plan.get("One-Time Filter") == "false"


def _roles(connection: Connection) -> frozenset[str]:
    found = connection.execute("select rolname::text from pg_catalog.pg_roles").fetchall()
    return frozenset(name for (name,) in found)
