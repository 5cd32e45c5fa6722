"""Reading as somebody with other tokens and rows: what the policies let be seen, and what they mean to.

What policies *mean* is their expression evaluated as ourselves, whom no policy binds, with that person's token: where it
is true and the row is not seen, something that it asks is hidden from the person.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from realtime_toolkit.verify.names import mentioned, parts
from realtime_toolkit.verify.probing import Actor, Answer, attempt
from realtime_toolkit.verify.seeding import Who, literal, relation
from realtime_toolkit.verify.values import literals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.probing import Result, Statement
    from realtime_toolkit.verify.stage import Stage
    from realtime_toolkit.verify.tables import Policy, Table

CLIENTS = ("authenticated", "anon")
_OURSELVES = "none"
_STEPS = r"(?:\s*\)*\s*->>?\s*'\w+'(?:::text)?)+"
_CLAIM = re.compile(
    rf"(?:auth\.jwt\(\)(?:\s+AS\s+\w+)?|'request\.jwt\.claims'[^)]*\)+(?:::jsonb?)?)({_STEPS})(?P<rest>.{{0,120}})",
    re.IGNORECASE | re.DOTALL,
)
_STEP = re.compile(r"->>?\s*'(\w+)'")
_KNOWN = frozenset({"sub", "role", "aud", "iss", "aal", "is_anonymous", "session_id", "exp", "iat"})
"""Claims that Supabase sets: what policies compare them with does not make a token hold it."""
_PLAIN = frozenset({"provider", "providers"})

_ASKED = """
with recursive reads (src, dst) as (
  select p.polrelid, d.refobjid from pg_catalog.pg_policy p
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_policy'::regclass and d.objid = p.oid
    and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> p.polrelid
  where p.polcmd in ('r', '*')
  union
  select r.ev_class, d.refobjid from pg_catalog.pg_rewrite r
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
    and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> r.ev_class
), asked (src, dst) as (
  select src, dst from reads union select a.src, r.dst from asked a join reads r on r.src = a.dst
)
select format('%I.%I', n.nspname, c.relname), array_agg(format('%I.%I', m.nspname, o.relname) order by 1)
from asked
join pg_catalog.pg_class c on c.oid = src join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class o on o.oid = dst and o.relkind in ('r', 'p') and o.oid <> c.oid
join pg_catalog.pg_namespace m on m.oid = o.relnamespace
where c.relkind in ('r', 'p')
group by 1
"""


class Reading:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._asked = {
            name: tuple(dict.fromkeys(others))
            for name, others in stage.connection.execute(_ASKED.encode()).fetchall()
        }
        row = stage.connection.execute(
            "select rolbypassrls or rolsuper from pg_catalog.pg_roles where rolname = current_user"
        ).fetchone()
        self.unbound = bool(row and row[0])
        """No policy binds ourselves."""

    # -- what is read -------------------------------------------------------------------------------------

    def readers(self, table: Table) -> tuple[str, ...]:
        """Client roles that may select some column, and whom a permissive policy speaks of."""
        return tuple(
            role
            for role in CLIENTS
            if "select" in table.reach.get(role, ())
            and any(p.permissive and p.speaks("r", role) for p in table.policies)
        )

    def policies(self, table: Table) -> tuple[Policy, ...]:
        """Those that decide what clients read."""
        return tuple(p for p in table.policies if any(p.speaks("r", role) for role in self.readers(table)))

    def texts(self, table: Table) -> str:
        """What those say, and the functions that they call."""
        return _texts(self.policies(table))

    def asked(self, table: Table) -> tuple[Table, ...]:
        """Tables that they look into, over views, functions and the policies of those tables."""
        found, tables = dict.fromkeys(self._asked.get(table.name, ())), self.stage.model.tables
        texts, grew = self.texts(table), True
        while grew:
            more = [t for t in tables if t not in found and t != table.name and _names(t, texts)]
            found.update(dict.fromkeys(more))
            texts += "".join(self.texts(tables[name]) for name in more)
            grew = bool(more)
        return tuple(tables[name] for name in found if name in tables)

    # -- who reads ----------------------------------------------------------------------------------------

    def tokens(self, table: Table) -> Iterator[Actor]:
        """Alice in every role that may read it, as she is and with what else its policies ask of a token."""
        actors = self.stage.access.actors
        for role in self.readers(table):
            yield actors[role]
        person = actors["authenticated"]
        if "authenticated" in self.readers(table):
            for claims in self._claims(table):
                yield Actor(person.role, _with(person.claims, claims))

    def _claims(self, table: Table) -> Iterator[dict[str, object]]:
        texts = self.texts(table) + "".join(self.texts(other) for other in self.asked(table))
        yield {"aal": "aal2", "amr": [{"method": "totp", "timestamp": 0}]}
        yield {"is_anonymous": True, "email": ""}
        wanted: dict[tuple[tuple[str, ...], str], None] = {}
        for match in _CLAIM.finditer(texts):
            path = tuple(_STEP.findall(match[1]))
            if path[0] not in _KNOWN:
                wanted |= dict.fromkeys((path, value) for value in literals(match["rest"])[:4])
        for path, value in list(wanted)[:12]:
            made: object = f"probe{value.strip('%')}" if "@" in value else _typed(value)
            for step in reversed(path):
                made = {step: made}
            assert isinstance(made, dict)
            yield {**made, "aal": "aal2"}

    # -- trying -------------------------------------------------------------------------------------------

    def look(self, table: Table, who: Who) -> Statement | None:
        """Selects that person's row."""
        row = self.stage.seeder.world.rows.get((table.name, who))
        if row is None:
            return None
        return sql.SQL("select from {} where {}").format(relation(table), self.stage.access.where(table, row))

    def sees(self, person: Actor, look: Statement, before: Sequence[Statement] = ()) -> Result:
        return attempt(self.stage.connection, person, look, before=before)

    def does(self, statement: Statement) -> Result:
        """As ourselves, whom no policy binds."""
        return attempt(self.stage.connection, None, statement)

    def means(self, person: Actor, table: Table, look: Statement, before: Sequence[Statement] = ()) -> bool:
        """Whether the policies are true of the row for that token, were nothing hidden that they ask."""
        asks = self._expression(table, person.role)
        statement = sql.SQL("{} and ({})").format(look, sql.SQL(asks))
        ourselves = replace(person, role=_OURSELVES)
        answer = attempt(self.stage.connection, ourselves, statement, before=before).answer
        return self.unbound and answer is Answer.ALLOW

    def _expression(self, table: Table, role: str) -> str:
        those = [p for p in table.policies if p.speaks("r", role)]
        permissive = [p.using or "false" for p in those if p.permissive]
        walls = [p.using or "false" for p in those if not p.permissive]
        either = " or ".join(f"({text})" for text in permissive) or "false"
        return " and ".join(f"({text})" for text in (either, *walls))

    def write(self, table: Table, who: Who, column: str, value: str | None) -> Statement | None:
        """Sets a column of that person's row, as ourselves."""
        row = self.stage.seeder.world.rows.get((table.name, who))
        if row is None:
            return None
        return sql.SQL("update {} set {} = {} where {}").format(
            relation(table),
            sql.Identifier(column),
            literal(table, column, value),
            self.stage.access.where(table, row),
        )


def _texts(policies: Sequence[Policy]) -> str:
    bodies = (
        body
        for policy in policies
        for name, body in policy.functions.items()
        if not name.startswith(("auth.", "realtime."))
    )
    return "\n".join((*(policy.using or "" for policy in policies), *bodies))


def _names(table: str, texts: str) -> bool:
    return mentioned(parts(table)[-1], texts)


def _typed(value: str) -> object:
    return {"true": True, "false": False}.get(value, value)


def _with(claims: object, more: object) -> dict[str, object]:
    """Both, the second where they differ; objects inside of each other are joined, too."""
    assert isinstance(claims, dict)
    assert isinstance(more, dict)
    joined = dict(claims)
    for name, value in more.items():
        both = isinstance(value, dict) and isinstance(joined.get(name), dict)
        joined[name] = _with(joined[name], value) if both else value
    return joined
