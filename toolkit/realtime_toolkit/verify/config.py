"""``supabase/verify.toml``: what verify cannot find out by itself.

[publication]
tables = ["orders", "app.invoices"]        # must be published

[tables."public.notes"]                    # how rows belong to users, where policies do not show it
owner = "author"                           # column that holds a user's id
tenant = "team_id"                         # column that holds a tenant's
values = { state = "draft" }               # what a new row needs that its constraints do not show

[users]                                    # what triggers of auth.users need
user_metadata = { company = "{name} Ltd" }

[claims]                                   # what a member's token carries
app_metadata = { tenant_id = "{tenant}" }

[channels]
topics = ["room:{tenant}"]                 # private topics to try
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ownership:
    """Columns by which a row belongs to somebody; ``None`` where not told."""

    owner: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    expected: tuple[str, ...] = ()
    ownership: Mapping[str, Ownership] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Table → column → value as text, for every row that is made there."""
    users: Mapping[str, Any] = field(default_factory=dict)
    """``user_metadata``, ``app_metadata`` and ``email`` of every user that is made."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    exposed: frozenset[str] | None = None
    """Schemas that PostgREST serves, of ``config.toml``; ``None`` where that is not told."""


def load_config(path: Path) -> Config:
    """Read the file; a missing one is an empty one. Raises :class:`ConfigError` saying what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    try:
        return parse_config(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from None


_KNOWN = {
    "publication": {"tables"},
    "tables": None,
    "users": {"user_metadata", "app_metadata", "email"},
    "claims": None,
    "channels": {"topics"},
}


def parse_config(data: Mapping[str, Any]) -> Config:
    for section, content in data.items():
        if section not in _KNOWN:
            raise ConfigError(f"unknown section [{section}]")
        if not isinstance(content, dict):
            raise ConfigError(f"{section} must be a section, [{section}]")
        known = _KNOWN[section]
        if known is not None and (extra := sorted(set(content) - known)):
            raise ConfigError(f"[{section}] has no setting {extra[0]!r}")
    return Config(
        expected=_texts(data, "publication", "tables"),
        ownership={_qualified(name): _ownership(name, told) for name, told in data.get("tables", {}).items()},
        values={_qualified(name): _values(name, told) for name, told in data.get("tables", {}).items()},
        users=_users(data.get("users", {})),
        claims=data.get("claims", {}),
        topics=_texts(data, "channels", "topics"),
    )


def _texts(data: Mapping[str, Any], section: str, name: str) -> tuple[str, ...]:
    value = data.get(section, {}).get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"[{section}] {name} must be a list of texts")
    return tuple(value)


def _ownership(table: str, told: Any) -> Ownership:
    if not isinstance(told, dict) or not all(
        isinstance(told.get(name, ""), str) for name in ("owner", "tenant")
    ):
        raise ConfigError(f'[tables."{table}"] must give names of columns')
    if extra := sorted(set(told) - {"owner", "tenant", "values"}):
        raise ConfigError(f'[tables."{table}"] has no setting {extra[0]!r}')
    return Ownership(told.get("owner"), told.get("tenant"))


def _values(table: str, told: Mapping[str, Any]) -> Mapping[str, str]:
    given = told.get("values", {})
    if not isinstance(given, dict) or not all(isinstance(v, str | int | float) for v in given.values()):
        raise ConfigError(f'[tables."{table}"] values must be columns with a text, number or boolean each')
    return {name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in given.items()}


def _users(told: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, wanted in (("user_metadata", dict), ("app_metadata", dict), ("email", str)):
        if not isinstance(told.get(name, wanted()), wanted):
            raise ConfigError(f"[users] {name} must be a {'text' if wanted is str else 'table of keys'}")
    return told


def _qualified(name: str) -> str:
    return name if "." in name else f"public.{name}"
