"""Conditions of policies that can never hold: told by the planner, which folds them away. Read-only.

Postgres plans ``select … where <condition>`` with what is known of every token put in its place, and with the table's
constraints believed (``constraint_exclusion``). A plan that reads nothing is a proof: ``owner = null``, a level of assurance
that no token has, a status that the column's CHECK does not allow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.catalogue import composed
from realtime_toolkit.verify.folding import Token, alternatives, arms, conditions, folded
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.names import mentioned, plain, quoted
from realtime_toolkit.verify.probing import sqlstate_of, undone
from realtime_toolkit.verify.seeding import Who
from realtime_toolkit.verify.session import settings, snapshot
from realtime_toolkit.verify.values import literals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from realtime_toolkit.verify.session import Connection

RLS013 = Rule(
    "RLS013",
    "rls",
    "A condition of a policy can never hold",
    "Comparing with null, with a value that the column's constraint refuses or that no token has: nobody is let in by it.",
)
_QUERY = Path(__file__).resolve().with_name("dead.sql")
_HARMLESS = re.compile(
    r'\(*(?:(?:[\w$]+|"(?:[^"]|"")+") IS NULL|false|null::boolean|\d+ = \d+)\)*', re.IGNORECASE
)
"""Beside other alternatives: ``owner_id IS NULL`` where that cannot be."""


@dataclass(frozen=True, slots=True)
class _Policy:
    table: str
    name: str
    permissive: bool
    text: str
    roles: Sequence[str]
    alone: bool
    """No other policy lets a client read the table, which is published."""
    listed: Sequence[Mapping[str, Any]] | None
    """Columns of few values: ``name`` as SQL writes it, ``type``, and ``values``."""


def dead_conditions(
    connection: Connection, found: Collection[Finding], *, schemas: Sequence[str] = ()
) -> CheckResult:
    """The verdict on all tables with RLS; of one that nobody can read RLS002 has ``found`` the same."""
    closed = {finding.object for finding in found if finding.code == "RLS002"}
    with snapshot(connection):
        settings(connection, schemas)
        connection.execute(b"set local constraint_exclusion = on")
        try:
            with connection.transaction():
                asked = connection.execute(composed(_QUERY.read_text(encoding="utf-8")).encode()).fetchall()
        except psycopg.Error as error:
            return CheckResult(RLS013, Outcome.UNDECIDED, reason=f"the catalog: {sqlstate_of(error)}")
        if not _is_unbound(connection):
            reason = "connected as a role that row level security binds: its plans prove nothing"
            return CheckResult(RLS013, Outcome.UNDECIDED, reason=reason)
        roles, bound = _roles(connection)
        policies = (_Policy(*row) for row in asked)
        findings = tuple(
            finding
            for policy in policies
            if shown(policy.table) not in closed
            for finding in _judged(connection, policy, roles, bound)
        )
    return CheckResult(RLS013, Outcome.FAIL if findings else Outcome.PASS, findings)


def _judged(
    connection: Connection, policy: _Policy, roles: frozenset[str], bound: frozenset[str]
) -> Iterator[Finding]:
    top = alternatives(policy.text)
    if policy.alone and all(_is_dead(connection, policy, arm, bound) for arm in top):
        yield _finding(policy, top, whole=True)
        return
    never = [
        arm
        for arm in arms(policy.text)
        if not (len(top) > 1 and _HARMLESS.fullmatch(arm)) and _is_dead(connection, policy, arm, roles)
    ]
    widest = [arm for arm in never if not any(arm in other for other in never if other != arm)]
    if widest:
        yield _finding(policy, widest, whole=all(arm in never for arm in top))


def _is_dead(connection: Connection, policy: _Policy, arm: str, roles: frozenset[str]) -> bool:
    """Whether it holds for no kind of token, those of these database roles among them."""
    tokens = _tokens(policy, roles & set(literals(policy.text)))
    return all(_never(connection, policy, folded(arm, token)) for token in tokens)


def _tokens(policy: _Policy, named: frozenset[str]) -> Iterator[Token]:
    """Every kind of token that the policy may be asked by; with the database roles that it names, too."""
    if "anon" in policy.roles:
        yield Token("anon", None)
    if "authenticated" in policy.roles:
        for aal in ("aal1", "aal2"):
            for anonymous in (False, True):
                yield Token("authenticated", Who.ALICE.user_id, aal, anonymous)
    yield from (Token(role, Who.ALICE.user_id) for role in sorted(named))


def _never(connection: Connection, policy: _Policy, condition: str) -> bool:
    return _reads_nothing(connection, policy.table, condition) or any(
        _is_no_value(connection, column, each)
        for each in conditions(condition)
        for column in policy.listed or ()
        if mentioned(plain(column["name"]), each)
    )


def _is_no_value(connection: Connection, column: Mapping[str, Any], condition: str) -> bool:
    """Whether no value of the column makes a condition true that speaks of it alone."""
    rows = sql.SQL(", ").join(
        sql.SQL("({}::{})").format(sql.Literal(value), sql.SQL(column["type"])) for value in column["values"]
    )
    query = sql.SQL(
        "select coalesce(pg_catalog.bool_or({}), false) from (values {}, (null)) as v ({})"
    ).format(sql.SQL(condition), rows, sql.SQL(column["name"]))
    with undone(connection):
        try:
            row = connection.execute(query).fetchone()
        except psycopg.Error as error:
            sqlstate_of(error)
            return False
    return row is not None and row[0] is False


def _reads_nothing(connection: Connection, table: str, condition: str) -> bool:
    query = f"explain (format json, costs off) select from only {table} where {condition}"
    with undone(connection):
        try:
            row = connection.execute(query.encode()).fetchone()
        except psycopg.Error as error:
            sqlstate_of(error)
            return False
    plan = row[0][0]["Plan"] if row else {}
    return plan.get("Node Type") == "Result" and plan.get("One-Time Filter") == "false"


def _roles(connection: Connection) -> tuple[frozenset[str], frozenset[str]]:
    """Roles that a token may name besides the clients', and those of them that policies bind."""
    found = connection.execute(
        "select rolname::text, rolbypassrls or rolsuper from pg_roles where rolname not in ('anon', 'authenticated')"
    ).fetchall()
    return frozenset(name for name, _ in found), frozenset(name for name, unbound in found if not unbound)


def _is_unbound(connection: Connection) -> bool:
    query = "select rolbypassrls or rolsuper from pg_roles where rolname = current_user"
    row = connection.execute(query).fetchone()
    return bool(row and row[0])


def _finding(policy: _Policy, never: Sequence[str], *, whole: bool) -> Finding:
    name, text = f"policy {quoted(policy.name)} on {policy.table}", " and ".join(never)
    why, mend = _explained(text)
    harm = "this alternative lets nobody read"
    if whole:
        harm = "it lets nobody read" if policy.permissive else "it hides every row from everybody"
    return Finding.of(
        "RLS013",
        Level.ERROR if whole else Level.WARNING,
        name,
        f"The condition {text} of the {name} can never hold ({why}): {harm}.",
        f"-- {mend}: alter {name} using (…);",
        f"RLS013 {name}",
    )


def _explained(text: str) -> tuple[str, str]:
    """Why it never holds, and what to do."""
    if re.search(r"(=|<>) NULL::|NULL::[\w ]+ (=|<>)", text):
        return "nothing equals null", "ask IS NULL"
    if "'aal'" in text:
        return "a token's aal is aal1 or aal2", "ask for aal2"
    if re.search(r"auth\.role\(\)|'role'|CURRENT_USER", text):
        return (
            "a client's role is anon or authenticated, or another that policies bind",
            "ask for a claim that the server sets: (select auth.jwt() -> 'app_metadata' ->> 'role')",
        )
    if re.search(r"auth\.uid\(\).* IS NULL", text):
        return "a token of this role has a user", "leave the condition out"
    return "the table's constraints refuse every such row", "write what the column can hold"
