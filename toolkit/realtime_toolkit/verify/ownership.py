"""How rows belong to users and tenants: read from policies, foreign keys and defaults, or told. Pure.

Policies say it in few ways, once deparsed: ``column = (select auth.uid())``, a subquery on a membership
table that says it there, a claim of the token compared with a column, or a function that holds one of these.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.verify.names import NAME, mentioned, parts, plain
from realtime_toolkit.verify.tables import USERS, hanging_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
    r"(?P<mail>auth\.email\(\))|auth\.jwt\(\)(?:\s+AS\s+\w+)?(?P<path>(?:\s*\)*\s*->>?\s*'\w+'(?:::text)?)+)"
    r"|current_setting\(\s*'request\.jwt\.claims'[^)]*\)\s*\)*(?:::jsonb?)?(?P<path2>(?:\s*\)*\s*->>?\s*'\w+'(?:::text)?)+)",
    re.IGNORECASE,
)
_STEP = re.compile(r"->>?\s*'(\w+)'")
_BEFORE = re.compile(
    rf"{_COLUMN}{_CAST}\s*(?:=|\bin\b)\s*(?:[\s(]|\b(?:select|array|any)\b|\b[\w.]+(?=\())*$", re.IGNORECASE
)
_AFTER = re.compile(rf"{_CAST}(?:\s+as\s+\w+)?\s*{_CAST}\s*(?:=|\?)\s*[\s(]*{_COLUMN}", re.IGNORECASE)
_CONSTANT = re.compile(
    rf"{_CAST}(?:\s+as\s+\w+)?\s*{_CAST}\s*(?:=|\bin\b)\s*(?:any\s*)?[\s(]*(?:array\[)?'(\w+)'", re.I
)
"""What a claim is compared with."""
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
    mails: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Table → columns that hold a user's e-mail address."""
    joining: Mapping[str, str] = field(default_factory=dict)
    """Membership table → the table whose rows a user is made a member of."""
    privileges: tuple[tuple[tuple[str, ...], str], ...] = ()
    """Claims that policies compare with a constant, as an admin's token carries them: path and value."""

    @property
    def teams(self) -> frozenset[str]:
        return frozenset(self.joining.values())

    def names_somebody(self, table: Table) -> bool:
        """Whether a row of it says whose it is; a new tenant's own row does not."""
        columns = self.users.get(table.name, frozenset()) | self.tenants.get(table.name, frozenset())
        columns |= self.mails.get(table.name, frozenset())
        if columns and columns != set(table.key):
            return True
        return any(key.target == USERS or key.target in self.owned for key in table.foreign_keys)


def find_belonging(model: Model, config: Config) -> Belonging:
    users, tenants = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    mails = defaultdict[str, set[str]](set)
    claims: dict[Claim, None] = {}
    for table in model.tables.values():
        for column in table.columns:
            if _names_a_user(table, column):
                users[table.name].add(column.name)
        for policy in table.policies:
            for name, column_name in _compared_with_user(model, table, policy):
                users[name].add(column_name)
            for claim in _claims(model, table, policy):
                if claim.path == ("email",):
                    if claim.column not in users[claim.table]:
                        mails[claim.table].add(claim.column)
                    continue
                claims[claim] = None
                if not _foreign(model.tables[claim.table], claim.column):
                    tenants[claim.table].add(claim.column)
    for table in model.tables.values():
        for name in table.filter_columns - users[table.name] - mails[table.name]:
            column = table.column(name)
            if not _foreign(table, name) and column.default is None and table.key != (name,):
                tenants[table.name].add(name)
    _spread_by_name(model, users, tenants)
    _apply_told(model, config, users, tenants)
    for name, columns in mails.items():
        tenants[name] -= columns
    found = _classified(model, users, tenants, mails, tuple(claims))
    return replace(found, joining=_joining(model, users), privileges=tuple(_privileges(model)))


def _joining(model: Model, users: Mapping[str, set[str]]) -> dict[str, str]:
    """Tables with one row a user and team, which policies of the team's own tables ask."""
    found = {}
    for table in model.tables.values():
        owners = users.get(table.name, set())
        for key in table.foreign_keys if len(owners) == 1 else ():
            there = model.tables.get(key.target)
            pair = {*owners, *key.columns}
            keyed = any(set(columns) == pair for columns in (table.key, *(u.columns for u in table.uniques)))
            if there is not None and keyed and there is not table and _is_asked(model, table, there):
                found[table.name] = key.target
    return found


def _is_asked(model: Model, members: Table, team: Table) -> bool:
    name = parts(members.name)[-1]
    about = {team.name, *hanging_on(model.tables, team.name)} - {members.name}
    policies = (policy for table in about for policy in model.tables[table].policies)
    return any(mentioned(name, text) for policy in policies for text in _texts(policy))


def _privileges(model: Model) -> Iterator[tuple[tuple[str, ...], str]]:
    policies = [policy for table in model.tables.values() for policy in table.policies]
    yield from rights_asked_for((*policies, *model.message_policies))


def rights_asked_for(policies: Iterable[Policy]) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Claims that these compare with a constant, or give a function one to compare them with: path and value, each once."""
    return tuple(dict.fromkeys(right for policy in policies for right in _rights(policy)))


def _rights(policy: Policy) -> Iterator[tuple[tuple[str, ...], str]]:
    for text in _texts(policy):
        for path, after in _claimed(text):
            constant = _CONSTANT.match(after)
            if constant is not None:
                yield path, constant[1]
    for name, body in policy.functions.items():
        given = re.search(re.escape(name) + r"\(([^()]*'[^()]*)\)", policy.text.replace("ARRAY[", ""))
        paths = [path for path, _ in _claimed(body)] if given and not name.startswith("auth.") else []
        for path in paths:
            yield from ((path, value) for value in re.findall(r"'(\w+)'", given[1] if given else ""))


def _claimed(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The claims that give no identity, and what follows each."""
    for claim in _CLAIM.finditer(text):
        path = tuple(_STEP.findall(claim["path"] or claim["path2"] or ""))
        if path and path != ("role",) and path[-1] not in ("sub", "email"):
            yield path, text[claim.end() :]


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
        raw = match["path"] or match["path2"] or "->> 'email'"
        path = tuple(_STEP.findall(raw))
        if path[-1] in ("sub", "aal", "is_anonymous") or path == ("role",):
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
    model: Model,
    users: Mapping[str, set[str]],
    tenants: Mapping[str, set[str]],
    mails: Mapping[str, set[str]],
    claims: tuple[Claim, ...],
) -> Belonging:
    personal = _closure(model, {name for name in model.tables if users.get(name) or mails.get(name)})
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
        {name: frozenset(columns) for name, columns in mails.items() if columns},
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
