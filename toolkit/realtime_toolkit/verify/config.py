"""``supabase/verify.toml``: what verify cannot find out by itself.

[publication]
tables = ["orders", "app.invoices"]        # must be published

[tables."public.notes"]                    # how rows belong to users, where policies do not show it
owner = "author"                           # column that holds a user's id
tenant = "team_id"                         # column that holds a tenant's

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


_KNOWN = {"publication": {"tables"}, "tables": None, "claims": None, "channels": {"topics"}}


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
        claims=data.get("claims", {}),
        topics=_texts(data, "channels", "topics"),
    )


def _texts(data: Mapping[str, Any], section: str, name: str) -> tuple[str, ...]:
    value = data.get(section, {}).get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"[{section}] {name} must be a list of texts")
    return tuple(value)


def _ownership(table: str, told: Any) -> Ownership:
    if not isinstance(told, dict) or not all(isinstance(column, str) for column in told.values()):
        raise ConfigError(f'[tables."{table}"] must give names of columns')
    if extra := sorted(set(told) - {"owner", "tenant"}):
        raise ConfigError(f'[tables."{table}"] has no setting {extra[0]!r}')
    return Ownership(told.get("owner"), told.get("tenant"))


def _qualified(name: str) -> str:
    return name if "." in name else f"public.{name}"
