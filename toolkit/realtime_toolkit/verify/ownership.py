"""How rows belong to users and tenants: read from policies, foreign keys and defaults, or told. Pure.

Policies say it in few ways, once deparsed: ``column = (select auth.uid())``, a subquery on a membership
table that says it there, a claim of the token compared with a column, or a function that holds one of these.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.verify.names import NAME, parts, plain
from realtime_toolkit.verify.tables import USERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.tables import Column, Model, Policy, Table

_UID = r"(?:auth\.uid\(\)|auth\.jwt\(\)\s*->>\s*'sub'(?:::text)?)"
_COLUMN = rf"(?:(?P<alias>{NAME})\.)?(?P<column>{NAME})"
_CAST = r"\)*(?:::[\w ]+)?\)*"
_OPEN = r"[\s(]*(?:select\b[\s(]*)?"
_COLUMN_IS_UID = re.compile(rf"{_COLUMN}{_CAST}\s*=\s*(?:any\s*)?{_OPEN}{_UID}", re.IGNORECASE)
_UID_IS_COLUMN = re.compile(
    rf"{_UID}{_CAST}(?:\s+as\s+\w+)?\s*{_CAST}\s*(?:=|in)\s*(?:any\s*)?(?P<rest>[\s(]*(?:array\[)?[^=]*)",
    re.IGNORECASE,
)
_NAME = re.compile(_COLUMN)
_FROM = re.compile(
    rf"\b(?:from|join)\s+\(*((?:{NAME}\.)?{NAME})(?:\s+(?:as\s+)?(?!where|on|join|left|inner)({NAME}))?", re.I
)
_CLAIM = re.compile(
    r"auth\.jwt\(\)(?:\s+AS\s+\w+)?(?P<path>(?:\s*\)*\s*->>?\s*'\w+'(?:::text)?)+)"
    r"|current_setting\(\s*'request\.jwt\.claims'[^)]*\)\s*\)*(?:::jsonb?)?(?P<path2>(?:\s*\)*\s*->>?\s*'\w+'(?:::text)?)+)",
    re.IGNORECASE,
)
_STEP = re.compile(r"->>?\s*'(\w+)'")
_BEFORE = re.compile(
    rf"{_COLUMN}{_CAST}\s*(?:=|\bin\b)\s*(?:[\s(]|\b(?:select|array|any)\b|\b[\w.]+(?=\())*$", re.IGNORECASE
)
_AFTER = re.compile(rf"{_CAST}(?:\s+as\s+\w+)?\s*{_CAST}\s*(?:=|\?)\s*[\s(]*{_COLUMN}", re.IGNORECASE)
_USER_NAME = re.compile(
    r"^(user|owner|author|creator|created_by|member|profile|account_holder)(_?(id|uuid|uid))?$|_by$", re.I
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that policies compare with a column: a member's token carries the value of their row."""

    path: tuple[str, ...]
    table: str
    column: str
    listed: bool
    """It holds a list of values."""


@dataclass(frozen=True, slots=True)
class Belonging:
    users: Mapping[str, frozenset[str]]
    """Table → columns that hold a user's id."""
    tenants: Mapping[str, frozenset[str]]
    """Table → columns without a foreign key that hold a tenant's id."""
    claims: tuple[Claim, ...]
    personal: frozenset[str]
    """Tables whose rows come in one per user rather than per tenant."""
    owned: frozenset[str]
    """Tables whose rows belong to a user or a tenant at all."""
    shared: frozenset[str]
    """Tables in which two users of one tenant can be told apart from two of different ones."""

    def names_somebody(self, table: Table) -> bool:
        """Whether a row of it says whose it is; a new tenant's own row does not."""
        columns = self.users.get(table.name, frozenset()) | self.tenants.get(table.name, frozenset())
        if columns and columns != set(table.key):
            return True
        return any(key.target == USERS or key.target in self.owned for key in table.foreign_keys)


def find_belonging(model: Model, config: Config) -> Belonging:
    users, tenants = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    claims: dict[Claim, None] = {}
    for table in model.tables.values():
        for column in table.columns:
            if _names_a_user(table, column):
                users[table.name].add(column.name)
        for policy in table.policies:
            for name, column_name in _compared_with_user(model, table, policy):
                users[name].add(column_name)
            for claim in _claims(model, table, policy):
                claims[claim] = None
                if not _foreign(model.tables[claim.table], claim.column):
                    tenants[claim.table].add(claim.column)
    for table in model.tables.values():
        for name in table.filter_columns - users[table.name]:
            column = table.column(name)
            if not _foreign(table, name) and column.default is None and table.key != (name,):
                tenants[table.name].add(name)
    _spread_by_name(model, users, tenants)
    _apply_told(model, config, users, tenants)
    return _classified(model, users, tenants, tuple(claims))


def _names_a_user(table: Table, column: Column) -> bool:
    for key in table.foreign_keys:
        if column.name in key.columns:
            return key.target == USERS
    if column.default is not None and "auth.uid()" in column.default:
        return True
    return column.base == "uuid" and table.key != (column.name,) and bool(_USER_NAME.search(column.name))


def _foreign(table: Table, column: str) -> bool:
    return any(column in key.columns for key in table.foreign_keys)


def _spread_by_name(model: Model, users: dict[str, set[str]], tenants: dict[str, set[str]]) -> None:
    """A tenant's column in one table is one in every table that has it by the same name and type."""
    known = {
        (name, model.tables[table].column(name).base) for table, names in tenants.items() for name in names
    }
    for table in model.tables.values():
        for column in table.columns:
            taken = column.name in users[table.name] or _foreign(table, column.name)
            if (column.name, column.base) in known and not taken and column.default is None:
                tenants[table.name].add(column.name)


def _apply_told(
    model: Model, config: Config, users: dict[str, set[str]], tenants: dict[str, set[str]]
) -> None:
    for name, told in config.ownership.items():
        _require_columns(model, name, (told.owner, told.tenant))
        if told.owner is not None:
            users[name] = {told.owner}
            tenants[name].discard(told.owner)
        if told.tenant is not None:
            tenants[name] = {told.tenant}
            users[name].discard(told.tenant)


def _require_columns(model: Model, name: str, columns: tuple[str | None, ...]) -> None:
    if name not in model.tables:
        raise ConfigError(f'supabase/verify.toml: [tables."{name}"] is no table of the database')
    there = {column.name for column in model.tables[name].columns}
    for column in columns:
        if column is not None and column not in there:
            raise ConfigError(f"supabase/verify.toml: {name} has no column {column!r}")


# -- reading policies -----------------------------------------------------------------------------------


def _texts(policy: Policy) -> Iterator[str]:
    yield policy.text
    yield from (body for name, body in policy.functions.items() if not name.startswith("auth."))


def _compared_with_user(model: Model, table: Table, policy: Policy) -> Iterator[tuple[str, str]]:
    for text in _texts(policy):
        for match in _COLUMN_IS_UID.finditer(text):
            yield from _resolve(model, table, text, match["alias"], match["column"])
        for match in _UID_IS_COLUMN.finditer(text):
            rest = match["rest"]
            names = _NAME.finditer(rest) if "[" in rest or "," in rest else [_NAME.search(rest)]
            for name in filter(None, names):
                yield from _resolve(model, table, text, name["alias"], name["column"])


def _claims(model: Model, table: Table, policy: Policy) -> Iterator[Claim]:
    for text in _texts(policy):
        yield from _claims_in(model, table, text, text)
    for name, body in policy.functions.items():  # column = my_tenant(), whose body holds the claim
        inner = None if name.startswith("auth.") else _CLAIM.search(body)
        if inner is not None:
            yield from _claims_in(model, table, policy.text.replace(f"{name}()", inner[0]), policy.text)


def _claims_in(model: Model, table: Table, text: str, names: str) -> Iterator[Claim]:
    for match in _CLAIM.finditer(text):
        raw = match["path"] or match["path2"]
        path = tuple(_STEP.findall(raw))
        if path[-1] in ("sub", "role", "aal", "email", "is_anonymous"):
            continue
        beside = _BEFORE.search(text[: match.start()]) or _AFTER.match(text[match.end() :])
        if beside is None:
            continue
        for name, column in _resolve(model, table, names, beside["alias"], beside["column"]):
            yield Claim(path, name, column, listed="->>" not in raw.rsplit("'", 2)[0][-5:])


def _resolve(
    model: Model, table: Table, text: str, alias: str | None, column: str
) -> Iterator[tuple[str, str]]:
    """The tables that a column of a policy's or function's text can mean."""
    alias, column = alias and plain(alias), plain(column)
    mentioned = {(plain(a) or parts(name)[-1]): name for name, a in _FROM.findall(text)}
    if alias is not None and alias in mentioned:
        candidates = [mentioned[alias]]
    elif alias is not None or any(c.name == column for c in table.columns):
        candidates = [table.name]
    else:
        candidates = list(mentioned.values())
    for name in candidates:
        found = model.tables.get(name) or model.tables.get(f"public.{name}")
        if found is not None and any(c.name == column for c in found.columns):
            yield found.name, column


# -- whose -----------------------------------------------------------------------------------------------


def _classified(
    model: Model, users: Mapping[str, set[str]], tenants: Mapping[str, set[str]], claims: tuple[Claim, ...]
) -> Belonging:
    personal = _closure(model, {name for name in model.tables if users.get(name)})
    roots = {
        key.target
        for table in model.tables.values()
        if users.get(table.name)
        for key in table.foreign_keys
        if key.target in model.tables and key.target not in personal
    }
    tenant_tables = _closure(
        model,
        roots | {name for name in model.tables if tenants.get(name)} | {claim.table for claim in claims},
    )
    return Belonging(
        {name: frozenset(columns) for name, columns in users.items() if columns},
        {name: frozenset(columns) for name, columns in tenants.items() if columns},
        claims,
        frozenset(personal),
        frozenset(personal | tenant_tables),
        frozenset(tenant_tables),
    )


def _closure(model: Model, start: set[str]) -> set[str]:
    """Those tables and all whose rows hang on them by a foreign key."""
    found, grew = set(start), True
    while grew:
        more = {
            table.name
            for table in model.tables.values()
            if table.name not in found and any(key.target in found for key in table.foreign_keys)
        }
        found |= more
        grew = bool(more)
    return found
