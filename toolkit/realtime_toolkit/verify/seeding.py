"""Rows for the people of two tenants, made from the schema itself, inside the caller's transaction.

Alice and Bob share a tenant, Mallory has another. Each gets one row in every table; a foreign key takes the
row of the same person, so that what hangs together belongs together. Each row is made with the claims of that person
set, for defaults and triggers that ask who it is. What a migration filled (plans, countries, settings) is taken as it is.
Where no row can be made, the table stays without, and it is said what refused it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from realtime_toolkit.verify import roles
from realtime_toolkit.verify.fitting import Fitter
from realtime_toolkit.verify.people import BESIDE, PEOPLE, Row, Who, World
from realtime_toolkit.verify.refusals import why
from realtime_toolkit.verify.rows import equals, insert_statement, literal, relation, spelled_out
from realtime_toolkit.verify.tables import USERS, in_dependency_order
from realtime_toolkit.verify.tokens import asks_when, claims
from realtime_toolkit.verify.users import Users
from realtime_toolkit.verify.values import constant, tenant_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Column, ForeignKey, Model, Table

__all__ = ["PEOPLE", "Row", "Seeder", "Who", "World", "equals", "insert_statement", "literal", "relation", "spelled_out"]  # fmt: skip

_SERVICE = json.dumps({"role": "service_role", "iss": "supabase"})


class Seeder:
    def __init__(self, connection: Connection, model: Model, belonging: Belonging, config: Config) -> None:
        self._connection = connection
        self._model = model
        self._belonging = belonging
        self._config = config
        self._fitter = Fitter(connection, belonging)
        self._referred = {key.target for t in model.tables.values() for key in t.foreign_keys}
        self._texts = tuple(_texts(model))
        self._ranks = self._find_ranks()
        self._leading = {name for (name, _), (_, most) in self._ranks.items() if most is not None}
        self._pairs = self._find_pairs()
        self._tenants: dict[tuple[str, str, str], str | None] = {}
        self._promised: dict[tuple[str, Who], Row] = {}
        self._made: dict[tuple[str, Who], Row] = {}
        """Rows that triggers made."""
        self._postponed: list[tuple[Table, ForeignKey, Who]] = []
        self.world = World()

    def seed(self) -> World:
        self._connection.execute("set constraints all deferred")
        if asks_when(text for _, text in self._texts):
            now = self._connection.execute("select extract(epoch from now())::bigint").fetchone()
            self.world.now = now[0] if now else self.world.now
        self._make_users()
        self._find_what_triggers_made()
        for table in in_dependency_order([*self._model.support.values(), *self._model.tables.values()]):
            if table.kind == "r" and table.name != USERS:
                self._seed_table(table)
        for table, key, who in self._postponed:
            self._fill_in(table, key, who)
        self._join_each_other()
        self._speak("")
        self.world.leading = frozenset(self._leading)
        return self.world

    def _make_users(self) -> None:
        users = Users(self._connection, self._model, self._config)
        leads = bool(self._leading or self._belonging.privileges)
        people = (*PEOPLE, *((Who.CAROL,) if leads else ()), *((Who.TRENT,) if self._pairs else ()))
        for who in people if users.exist else ():
            try:
                statement, self.world.metadata[who], self.world.mails[who] = users.insert(who)
            except psycopg.Error as error:
                self.world.failed.setdefault(
                    USERS,
                    f"no user could be made: {why(error, USERS)} (supabase/verify.toml: [users] user_metadata)",
                )
            else:
                self.world.users.add(who)
                self.world.script.append(statement)

    def _find_what_triggers_made(self) -> None:
        """Rows that were made with a user (a profile, a first workspace) are that person's."""
        query = (
            "select c.oid::regclass::text from pg_catalog.pg_class c where c.relkind = 'r' "
            "and pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) > 0"
        )
        with self._connection.transaction(force_rollback=True):
            self._connection.execute("set local search_path = pg_catalog")
            written = {name for (name,) in self._connection.execute(query).fetchall()}
        for name in sorted(written & self._model.tables.keys()):
            table = self._model.tables[name]
            for who in self.world.users:
                known: Row = dict.fromkeys(self._belonging.users.get(name, ()), who.user_id)
                self._take(table, who, self._fitter.where(table, known) if known else None)

    def _take(self, table: Table, who: Who, row: Row | None) -> None:
        """This row is that person's, and so is what it refers to; but a tenant they share stays Alice's."""
        if row is None or (table.name, who) in self._made:
            return
        self._made[table.name, who] = row
        for key in table.foreign_keys:
            target = self._model.tables.get(key.target)
            values = [row[name] for name in key.columns]
            if target is None or target.name not in self._belonging.owned or None in values:
                continue
            alices = self._made.get((target.name, Who.ALICE))
            tenants = target.name not in self._belonging.personal
            if tenants and who in (Who.BOB, Who.CAROL) and alices is not None:
                self._refer(table, key, row, alices)
            else:
                self._take(
                    target,
                    who,
                    self._fitter.where(target, dict(zip(key.target_columns, values, strict=True))),
                )

    def _seed_table(self, table: Table) -> None:
        if self._is_filled(table):
            return
        for who in PEOPLE:
            self._person_row(table, who)
        if table.name in self._leading or table.name in self._carols:
            self._make(table, Who.CAROL)
        elif table.name not in self._belonging.personal:
            self._share(table, Who.CAROL)
        if table.name in self._pairs:
            self._make(table, Who.TRENT)
        if self._can_be_ownerless(table):
            self._make(table, Who.NOBODY)

    @property
    def _carols(self) -> set[str]:
        """Personal tables that a row of hers has to refer to."""
        return {
            key.target
            for name in self._leading
            for key in self._model.tables[name].foreign_keys
            if key.target in self._belonging.personal and key.target not in self._belonging.teams
        }

    def _find_pairs(self) -> set[str]:
        """Tables to which another refers twice with a check on that: a sender and a recipient, say. Users first of all."""
        found: set[str] = set()
        for table in self._model.tables.values():
            refer: dict[str, set[str]] = defaultdict(set)
            for key in table.foreign_keys:
                refer[key.target] |= set(key.columns) if len(key.columns) == 1 else set()
            refer[USERS] |= self._belonging.users.get(table.name, frozenset())
            checked = [set(check.columns) for check in table.checks]
            found |= {t for t, columns in refer.items() if any(len(columns & both) > 1 for both in checked)}
        return found & {USERS, *self._belonging.personal}

    def _person_row(self, table: Table, who: Who) -> None:
        own = table.name in self._model.tables
        shared = own and table.name not in self._belonging.personal and who is Who.BOB
        if shared or (own and table.name not in self._belonging.owned and who is not Who.ALICE):
            self._share(table, who)
        else:
            self._make(table, who)

    def _share(self, table: Table, who: Who) -> None:
        """Alice's row is this person's, too."""
        if (table.name, Who.ALICE) in self.world.rows:
            self.world.rows[table.name, who] = self.world.rows[table.name, Who.ALICE]
            self.world.given[table.name, who] = self.world.given[table.name, Who.ALICE]

    def _is_filled(self, table: Table) -> bool:
        """A table of constants that others refer to and a migration filled: its rows are taken, not others made."""
        if table.name not in self._referred or not self._may_be_constants(table):
            return False
        there = self._fitter.some(table)
        if not there:
            return False
        self._fitter.constants.add(table.name)
        usual, most = _by_role(table, there)
        for who in (*PEOPLE, Who.CAROL):
            row = most if who is Who.CAROL else usual
            self.world.rows[table.name, who] = self.world.given[table.name, who] = row
        if most != usual:
            users = self._belonging.users
            refer = (
                t for t in self._model.tables.values() if any(k.target == table.name for k in t.foreign_keys)
            )
            self._leading |= {t.name for t in refer if users.get(t.name)}  # fmt: skip
        return True

    def _may_be_constants(self, table: Table) -> bool:
        """Nobody's rows as far as columns and policies say; of what may be tenants only those with a code for a key."""
        named = self._belonging.users, self._belonging.tenants, self._belonging.mails
        if table.name in self._model.support or any(names.get(table.name) for names in named):
            return False
        codes = all(
            c.default is None and not c.generated and c.base != "uuid" for c in map(table.column, table.key)
        )
        return table.name not in self._belonging.owned or (
            not table.personal_read and bool(table.key) and codes
        )

    # -- one row --------------------------------------------------------------------------------------

    def row_for(
        self, table: Table, who: Who, *, chosen: Mapping[str, str | None] | None = None
    ) -> Row | None:
        """Values for an INSERT, without those that have a default; ``None`` where a row it needs is missing."""
        row: Row = dict(self._promised.get((table.name, who), {}))
        for key in table.foreign_keys:
            if not self._fill_foreign(table, key, who, row):
                return None
        for column in table.columns:
            name = column.name
            if name in row or column.generated:
                continue
            if name in self._belonging.users.get(table.name, ()):
                row[name] = None if who is Who.NOBODY else who.user_id
            elif name in self._belonging.mails.get(table.name, ()):
                row[name] = None if who is Who.NOBODY else self.world.mail(who)
            elif name in self._belonging.tenants.get(table.name, ()):
                row[name] = None if who is Who.NOBODY else self._tenant(table, column, who)
            elif name in table.partition_key:
                row[name] = self._fitter.value(table, column)
            elif (role := self._role(table, column, who)) is not None:
                row[name] = role
            elif column.required:
                row[name] = self._fitter.value(table, column)
        told = self._config.values.get(table.name, {})
        return {**row, **{name: _filled(value, who) for name, value in told.items()}, **(chosen or {})}

    def _fill_foreign(self, table: Table, key: ForeignKey, who: Who, row: Row) -> bool:
        """Take the values of the row it refers to; false where there is none and there has to be one."""
        if all(table.column(name).generated for name in key.columns):
            return True
        if self._is_preset(table, key):
            return True
        optional = [name for name in key.columns if not table.column(name).not_null]
        found = None if key.target == table.name else self._target_row(key.target, who)
        if found is None and optional and not self._is_promised(table, key, who):
            row.setdefault(optional[0], None)
            if key.target != table.name and who is not Who.NOBODY and key.target in self._model.tables:
                self._postponed.append((table, key, who))
            return True
        if found is None:
            found = self._promise(table, key, who)
        if found is None:
            return False
        for name, target_name in zip(key.columns, key.target_columns, strict=True):
            if row.get(name) is None and not table.column(name).generated:
                row[name] = found[target_name]
        if key.target == table.name:
            row.update({name: found[name] for name in key.target_columns if row.get(name) is None})
        return True

    def _is_preset(self, table: Table, key: ForeignKey) -> bool:
        """A constant is the default, of a table that a migration filled."""
        constant = all(
            table.column(name).default is not None and "(" not in str(table.column(name).default)
            for name in key.columns
        )
        return constant and key.target not in {USERS, *self._belonging.owned} and not (
            self._belonging.users.get(table.name) and key.target in self._referred and table.name in self._leading
        )  # fmt: skip

    def _is_promised(self, table: Table, key: ForeignKey, who: Who) -> bool:
        return key.target != table.name and (key.target, who) in self._promised

    def _promise(self, table: Table, key: ForeignKey, who: Who) -> Row | None:
        """The key of a row that is still to be made: its own, or one that a deferred constraint waits for."""
        itself = key.target == table.name
        target = self._model.tables.get(key.target)
        if target is None or who is Who.NOBODY or not (itself or key.deferrable):
            return None
        if target.name in self.world.failed:
            return None
        promised = self._promised.setdefault((target.name, who), {})
        for name in key.target_columns:
            users = self._belonging.users.get(target.name, ())
            made = who.user_id if name in users else self._fitter.value(target, target.column(name))
            promised.setdefault(name, made)
        return promised

    def _target_row(self, target: str, who: Who) -> Row | None:
        if who is Who.NOBODY and (target == USERS or target in self._belonging.owned):
            return None
        if target == USERS:
            return {"id": who.user_id} if who in self.world.users else None
        if who is Who.NOBODY or (who is Who.CAROL and target in self._belonging.teams):
            who = Who.ALICE
        rows = self.world.rows if target in self._model.tables else self.world.around
        found = rows.get((target, who))
        if found is None:  # a partitioned table has its rows in the partitions
            tables = self._model.tables.values()
            leaves = (t.name for t in tables if target in (p.parent for p in t.partitions))
            found = next((rows[leaf, who] for leaf in leaves if (leaf, who) in rows), None)
        return found

    def _tenant(self, table: Table, column: Column, who: Who) -> str | None:
        """The same in every table that has the column, once one has taken it."""
        known = self._tenants.get((column.name, column.base, who.tenant))
        return known if known is not None else tenant_value(column, who.tenant, table.checks)

    def _role(self, table: Table, column: Column, who: Who) -> str | None:
        """An ordinary member's, or Carol's; ``None`` where the default will do."""
        usual, most = self._ranks.get((table.name, column.name), (None, None))
        if who is Who.CAROL and most is not None:
            return most
        return None if [usual] == constant(column) else usual

    def _find_ranks(self) -> dict[tuple[str, str], tuple[str | None, str | None]]:
        """Columns that give a user a role: the ordinary one, and the highest."""
        return {
            (table.name, column.name): found
            for table in self._model.tables.values()
            if self._belonging.users.get(table.name)
            for column in table.columns
            if not column.generated and (found := roles.ranks(table, column, self._texts)) is not None
        }

    def _can_be_ownerless(self, table: Table) -> bool:
        named = (self._belonging.users, self._belonging.mails, self._belonging.tenants)
        columns = {name for names in named for name in names.get(table.name, ())}
        for key in table.foreign_keys:
            if key.target == USERS or key.target in self._belonging.owned:
                columns |= set(key.columns)
        return bool(columns) and all(not table.column(name).not_null for name in columns)

    # -- making it -----------------------------------------------------------------------------------------

    def insert(self, table: Table, row: Row, who: Who | None = None) -> Row:
        """Insert, trying other values where a constraint refuses; raises the last :class:`psycopg.Error`.

        It speaks as that person; where a trigger refuses them, as the service, and as nobody.
        """
        return self._insert(table, row, who)[0]

    def _insert(self, table: Table, row: Row, who: Who | None) -> tuple[Row, bool]:
        person = self._claims(who)
        given, first = dict(row), None
        for voice in dict.fromkeys((person, _SERVICE, "")):
            row.clear()
            row.update(given)
            try:
                self._speak(voice)
                made = self._fitter.insert(table, row)
            except psycopg.Error as error:
                if error.sqlstate is None:
                    raise
                first = first or error
                if error.diag.context is None and error.sqlstate != "42501":
                    break  # no function has a part in it, so it does not matter who asks
            else:
                return made.row, made.adopted
            finally:
                self._speak("")
        assert first is not None
        raise first

    def voice(self, who: Who) -> sql.Composed:
        """The statement after which that person is the one who asks, in whatever role."""
        return sql.SQL("select pg_catalog.set_config('request.jwt.claims', {}, true)").format(
            self._claims(who)
        )

    def _claims(self, who: Who | None) -> str:
        if who is None or who is Who.NOBODY:
            return ""
        return json.dumps(claims(who, self.world, self._belonging, self._config))

    def _speak(self, voice: str) -> None:
        self._connection.execute("select pg_catalog.set_config('request.jwt.claims', %s, true)", (voice,))

    def _make(self, table: Table, who: Who) -> None:
        row = self.row_for(table, who)
        if row is None:
            self._fail(table, who, self._missing(table, who))
            return
        try:
            there = self._made.get((table.name, who))
            self._fitter.others = self._beside(table, who)
            made, adopted = (there, True) if there is not None else self._insert(table, row, who)
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            quoted = f"'{table.name}'" if '"' in table.name else f'"{table.name}"'
            hint = f'(supabase/verify.toml: [tables.{quoted}] values = {{ column = "…" }})'
            self._fail(table, who, f"{why(error, table.name)} {hint}")
            return
        if who is Who.MALLORY and self._is_of_alices_tenant(table, made):
            return  # a partition of one tenant: a stranger has no rows in it
        if table.name not in self._model.tables:
            self.world.around[table.name, who] = made
        else:
            self.world.rows[table.name, who] = made
            self.world.given[table.name, who] = row
        for name in self._belonging.tenants.get(table.name, ()):
            self._tenants.setdefault((name, table.column(name).base, who.tenant), made[name])
        if not (adopted and table.name not in self._belonging.owned):
            self.world.script.append(spelled_out(table, made).as_string(self._connection))

    def _beside(self, table: Table, who: Who) -> dict[str, str]:
        """What stands for this person in the table's columns, and what for the one beside them."""
        other = BESIDE.get(who, who)
        found = {who.user_id: other.user_id}
        for key in table.foreign_keys:
            mine, theirs = (self.world.rows.get((key.target, person)) for person in (who, other))
            if mine and theirs and len(key.target_columns) == 1:
                name = key.target_columns[0]
                found[str(mine[name])] = str(theirs[name])
        return found

    def _fail(self, table: Table, who: Who, reason: str) -> None:
        if who in PEOPLE:
            self.world.failed.setdefault(table.name, reason)

    def _missing(self, table: Table, who: Who) -> str:
        """Which table has no row that this one could refer to, and why."""
        for key in table.foreign_keys:
            needed = any(table.column(name).not_null for name in key.columns)
            if needed and key.target != table.name and self._target_row(key.target, who) is None:
                reason = self.world.failed.get(key.target, "which has none for this user")
                return f"it needs a row of {key.target}: {reason.split(' (supabase')[0]}"
        return "a table it refers to has no row"

    def _is_of_alices_tenant(self, table: Table, made: Row) -> bool:
        alices = self.world.rows.get((table.name, Who.ALICE))
        columns = self._belonging.tenants.get(table.name, frozenset())
        return alices is not None and any(
            alices[name] is not None and alices[name] == made[name] for name in columns
        )

    # -- afterwards ------------------------------------------------------------------------------------------

    def _fill_in(self, table: Table, key: ForeignKey, who: Who) -> None:
        """A foreign key of a circle, now that the row it refers to is there."""
        row, found = self.world.rows.get((table.name, who)), self._target_row(key.target, who)
        if row is None or found is None or any(row[name] is not None for name in key.columns):
            return
        self._refer(table, key, row, found)

    def _refer(self, table: Table, key: ForeignKey, row: Row, found: Row) -> None:
        """Let a row that is there refer to another one, if it may; ``row`` then says so, too."""
        change = dict(zip(key.columns, (found[name] for name in key.target_columns), strict=True))
        where = table.key or tuple(name for name, value in row.items() if value is not None)
        statement = sql.SQL("update {} set {} where {}").format(
            relation(table),
            sql.SQL(", ").join(equals(table, name, value) for name, value in change.items()),
            sql.SQL(" and ").join(equals(table, name, row[name]) for name in where),
        )
        with suppress(psycopg.DatabaseError), self._connection.transaction():
            self._connection.execute(statement)
            row.update(change)
            self.world.script.append(statement.as_string(self._connection))

    def _join_each_other(self) -> None:
        """Where everybody has a team of their own, Alice and Bob are ordinary members of each other's."""
        for name, team in self._belonging.joining.items():
            table = self._model.tables[name]
            key = next(key for key in table.foreign_keys if key.target == team)
            for who, other in ((Who.ALICE, Who.BOB), (Who.BOB, Who.ALICE)):
                theirs, row = self._target_row(team, other), self.row_for(table, who)
                if theirs is None or row is None or theirs == self._target_row(team, who):
                    continue
                row |= zip(key.columns, (theirs[column] for column in key.target_columns), strict=True)
                with suppress(psycopg.DatabaseError):
                    made = self.insert(table, row, other)
                    self.world.script.append(spelled_out(table, made).as_string(self._connection))

    def fresh(self, column: Column) -> str | None:
        """A value that no seeded row has."""
        return self._fitter.fresh(column)


def _texts(model: Model) -> Iterator[tuple[str, str]]:
    """Everything that decides on access, with the table it is about; functions are about none."""
    for table in model.tables.values():
        for policy in table.policies:
            yield table.name, policy.text
            yield from (("", body) for name, body in policy.functions.items() if not name.startswith("auth."))
    for policy in model.message_policies:
        yield "", policy.text
        yield from (("", body) for name, body in policy.functions.items() if not name.startswith("auth."))


def _by_role(table: Table, there: list[Row]) -> tuple[Row, Row]:
    """Of rows that are roles the ordinary one and the one with the most rights; of others the first, twice."""
    for column in table.columns:
        named = {str(row[column.name]): row for row in reversed(there)}
        most = roles.highest(list(named))
        if (most is not None and column.base in ("text", "character varying", "citext")) or (
            column.kind == "e" and most
        ):
            return named[roles.ordinary(list(named), ())], named[most]
    return there[0], there[0]


def _filled(value: str, who: Who) -> str:
    told = {"{user}": who.user_id, "{name}": who.value, "{tenant}": f"tenant-{who.tenant}"}
    for name, text in told.items():
        value = value.replace(name, text)
    return value
