"""The users of the seeded world, with the metadata that the triggers of auth.users read.

A trigger that makes a profile of ``raw_user_meta_data ->> 'username'`` refuses a user without it. The keys are read from
the functions; where a value is refused, the error says which one and what it must be.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from realtime_toolkit.verify import refusals, roles, values
from realtime_toolkit.verify.names import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.people import Who
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Check, Column, Model, Table

_READ = re.compile(r"->>?\s*'((?:[^']|'')+)'|\?\s*'((?:[^']|'')+)'|#>>?\s*'\{([^}]+)\}'")
_DOMAIN = re.compile(r"'[^'\s]*?@?((?:[\w-]+\.)+[a-z]{2,})[^'\s]*'", re.IGNORECASE)
_PROVIDERS = {"provider": "email", "providers": ["email"]}
_TRIES = 40
_USUAL = (
    (re.compile(r"role|type$", re.I), "member"),
    (re.compile(r"mail", re.I), "{who}@probe.invalid"),
    (re.compile(r"avatar|picture|image|photo|url|website|link", re.I), "https://probe.invalid/{who}"),
    (re.compile(r"user_?name|handle|nick|slug|login", re.I), "{who}_probe"),
    (re.compile(r"first_?name|given_?name", re.I), "{Who}"),
    (re.compile(r"last_?name|family_?name|surname", re.I), "Probe"),
    (re.compile(r"phone|mobile", re.I), "+4179123456{n}"),
    (re.compile(r"^(is|has|accepts?|wants?|agreed?)_|terms|consent|newsletter|marketing", re.I), "true"),
    (re.compile(r"locale|lang", re.I), "en"),
    (re.compile(r"time_?zone|^tz$", re.I), "UTC"),
    (re.compile(r"country", re.I), "CH"),
    (re.compile(r"currency", re.I), "CHF"),
    (re.compile(r"birth|dob|date", re.I), "2000-01-0{n}"),
    (re.compile(r"age|count|number|year", re.I), "3{n}"),
)  # fmt: skip


class Users:
    def __init__(self, connection: Connection, model: Model, config: Config) -> None:
        self._connection = connection
        self._model = model
        self._told = config.users
        self._columns = self._columns_of_users()
        self._keys = tuple(dict.fromkeys(_keys(model.metadata_readers)))

    @property
    def exist(self) -> bool:
        """Whether there is a table of users at all."""
        return bool(self._columns)

    def insert(self, who: Who) -> tuple[str, dict[str, Any], str]:
        """The statement that made this user, their metadata and e-mail address. Raises the last :class:`psycopg.Error`."""
        metadata: dict[str, Any] = {key: usual(key, who) for key in self._keys}
        changes: dict[str, Iterator[dict[str, Any]]] = {}
        emails = self._emails(who)
        email = next(emails)
        for _ in range(_TRIES):
            statement = self._statement(who, metadata, email)
            try:
                with self._connection.transaction():
                    self._connection.execute(statement)
            except psycopg.Error as error:
                if error.sqlstate is None:
                    raise
                change = self._change(metadata, error, changes)
                if change is None:
                    another = next(emails, None)
                    if another is None:
                        raise
                    email = another
                metadata.update(change or {})
            else:
                return statement.as_string(self._connection), metadata, email
        raise psycopg.errors.CheckViolation("no metadata was found that every constraint takes")

    def _statement(self, who: Who, metadata: Mapping[str, Any], email: str) -> sql.Composed:
        read = any("raw_app_meta_data" in source for source in self._model.metadata_readers)
        about_app = {**(metadata if read else {}), **_PROVIDERS}
        known = {
            "id": who.user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": email,
            "raw_app_meta_data": json.dumps({**about_app, **_told(self._told.get("app_metadata"), who)}),
            "raw_user_meta_data": json.dumps({**metadata, **_told(self._told.get("user_metadata"), who)}),
        }
        given = {name: value for name, value in known.items() if name in self._columns}
        return sql.SQL("insert into auth.users ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, given)),
            sql.SQL(", ").join(map(sql.Literal, given.values())),
        )

    def _emails(self, who: Who) -> Iterator[str]:
        """Told, else anybody's, else one of the domains that the functions mention."""
        told = self._told.get("email")
        yield str(_told(told, who)) if told else f"{who.value}@probe.invalid"
        for domain in dict.fromkeys(
            d for text in self._model.metadata_readers for d in _DOMAIN.findall(text)
        ):
            yield f"{who.value}@{domain}"

    # -- what a refusal says ---------------------------------------------------------------------------------

    def _change(
        self,
        metadata: Mapping[str, Any],
        error: psycopg.Error,
        changes: dict[str, Iterator[dict[str, Any]]],
    ) -> dict[str, Any] | None:
        table = self._table(error)
        named = error.diag.constraint_name or error.diag.column_name
        if table is not None and named is not None and refusals.check(table, error) is not None:
            place = named
            made = self._as_checked(table, refusals.check(table, error), metadata)
        else:
            key = self._refused_key(metadata, error)
            place = f"{error.sqlstate} {key}"
            made = self._of_another_type(key, error) if key is not None else iter(())
        return next(changes.setdefault(place, made), None)

    def _table(self, error: psycopg.Error) -> Table | None:
        place = (error.diag.schema_name, error.diag.table_name)
        return next((t for t in self._model.tables.values() if parts(t.name) == place), None)

    def _as_checked(
        self, table: Table, check: Check | None, metadata: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        for column in map(table.column, check.columns if check else ()):
            for key in self._keys_for(column, metadata):
                for value in values.offered(column, check.definition if check else ""):
                    yield {key: value}

    def _keys_for(self, column: Column, metadata: Mapping[str, Any]) -> list[str]:
        """The keys that may have gone into a column: of its name, else of a like name, else any."""
        name = column.name.lower().replace("_", "")
        same = [key for key in metadata if key.lower().replace("_", "") == name]
        like = [key for key in metadata if name in key.lower() or key.lower() in column.name.lower()]
        return same or like or list(metadata)

    def _refused_key(self, metadata: Mapping[str, Any], error: psycopg.Error) -> str | None:
        """Whose value the error quotes."""
        text = f"{error.diag.message_primary} {error.diag.message_detail}"
        quoted = [key for key, value in metadata.items() if f'"{value}"' in text or f"=({value})" in text]
        return quoted[0] if quoted else None

    def _of_another_type(self, key: str, error: psycopg.Error) -> Iterator[dict[str, Any]]:
        text = error.diag.message_primary or ""
        if error.sqlstate == "23503":  # a foreign key: any row that is there
            yield from ({key: value} for value in self._there(error))
        enum = re.search(r"for enum ([^:]+):", text)
        if enum is not None:
            yield from ({key: label} for label in self._labels(enum[1]))
        for value in (str(uuid.uuid5(values.NAMESPACE, key)), "1", "true", "2000-01-01", "{}", "[]", None):
            yield {key: value}

    def _labels(self, enum: str) -> list[str]:
        found = self._connection.execute(
            "select e.enumlabel::text from pg_catalog.pg_enum e join pg_catalog.pg_type t on t.oid = e.enumtypid "
            "where t.typname = %s order by e.enumsortorder",
            (parts(enum)[-1],),
        )
        labels = [label for (label,) in found.fetchall()]
        return sorted(labels, key=lambda label: label != roles.ordinary(labels, ()))

    def _there(self, error: psycopg.Error) -> list[str]:
        table = self._table(error)
        keys = table.foreign_keys if table is not None else ()
        detail = error.diag.message_detail or ""
        for key in keys:
            target = self._model.tables.get(key.target)
            if target is None or f"({', '.join(key.columns)})=" not in detail:
                continue
            query = sql.SQL("select {}::text from {} limit 3").format(
                sql.Identifier(key.target_columns[0]), sql.SQL(target.name)
            )
            return [value for (value,) in self._connection.execute(query).fetchall()]
        return []

    def _columns_of_users(self) -> frozenset[str]:
        """Of auth.users, which is Supabase's and differs by its version; none where it is not there."""
        found = self._connection.execute(
            "select a.attname::text from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid "
            "join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = 'auth' and c.relname = 'users' and a.attnum > 0 and not a.attisdropped"
        )
        return frozenset(name for (name,) in found.fetchall())


def _keys(sources: tuple[str, ...]) -> Iterator[str]:
    """What the functions read of a JSON document, the first step of a path."""
    for source in sources:
        if "meta_data" in source:
            for read in _READ.findall(source):
                key = next(filter(None, read), "").replace("''", "'").split(",")[0]
                if key not in ("provider", "providers"):
                    yield key


def usual(key: str, who: Who) -> str:
    """What a sign-up form would send under such a name; another value for everybody."""
    number = list(type(who)).index(who) + 1
    if re.search(r"(^|_)id$", key, re.IGNORECASE):
        return str(uuid.uuid5(values.NAMESPACE, f"{key} {who.tenant}"))
    form = next((form for name, form in _USUAL if name.search(key)), "{Who} " + key.replace("_", " "))
    return form.format(who=who.value, Who=who.value.capitalize(), n=number)


def _told(told: Any, who: Who) -> Any:
    """What supabase/verify.toml says, with the person's name in place."""
    if isinstance(told, dict):
        return {name: _told(value, who) for name, value in told.items()}
    if isinstance(told, str):
        names = {"{user}": who.user_id, "{name}": who.value, "{tenant}": f"tenant-{who.tenant}"}
        for name, value in names.items():
            told = told.replace(name, value)
    return {} if told is None else told
