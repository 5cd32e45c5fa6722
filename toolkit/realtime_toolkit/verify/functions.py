"""The user's own functions: what clients may call, what they take, what they speak of. Pure but for one query."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_toolkit.verify.names import mentioned, parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Table

_QUERY = Path(__file__).resolve().with_name("functions.sql")
_ASKS = re.compile(
    r"\bauth\s*\.\s*(?:uid|jwt|role|email)\s*\(|'request\.|\b(?:session_user|current_role)\b"
    r"|current_setting\s*\(\s*'role'",
    re.IGNORECASE,
)
_OUTSIDE = re.compile(
    r"\bnet\s*\.\s*\w+\s*\(|\bhttp(?:_\w+)?\s*\(|\bdblink\w*\s*\(|\bcron\s*\.\s*\w+\s*\(|\bcopy\b[^;]*\bprogram\b"
    r"|\blo_(?:import|export)\b|\bpg_(?:read|write|ls)_\w+\s*\(|\bpg_(?:terminate|cancel)_backend\b|\bpg_sleep\w*\s*\(",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    """Empty where it has none."""
    type: str
    """As ``format_type`` writes it, to cast an argument."""
    base: str
    """The type under domains."""
    kind: str
    """``pg_type.typtype``."""
    labels: tuple[str, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class Function:
    signature: str
    """``public.approve(uuid)``, as ``regprocedure`` writes it."""
    call: str
    """Schema and name, quoted where needed."""
    name: str
    language: str
    definer: bool
    source: str
    """Its body without comments."""
    returns: str
    many: bool
    """It returns rows, a composite value or JSON: more than one fact."""
    roles: tuple[str, ...]
    """Clients' roles that can call it over the API."""
    parameters: tuple[Parameter, ...]


def read_functions(connection: Connection, facts: str) -> tuple[Function, ...]:
    """All of them, in one query that ``facts`` (the relations of ``checks/_facts.sql``) goes before."""
    row = connection.execute(f"{facts}\n{_QUERY.read_text(encoding='utf-8')}".encode()).fetchone()
    assert row is not None
    return tuple(map(_function, json.loads(row[0])))


def _function(item: dict[str, Any]) -> Function:
    parameters = tuple(Parameter(**{**p, "labels": tuple(p["labels"])}) for p in item["parameters"])
    return Function(**{**item, "roles": tuple(item["roles"]), "parameters": parameters})


def whole_source(function: Function, functions: Iterable[Function]) -> str:
    """Its body and those of the functions of the user's own that it calls, through any number of others."""
    known = {f.name: f.source for f in functions}
    texts, todo = dict[str, str](), [(function.name, function.source)]
    while todo:
        name, text = todo.pop()
        if name not in texts:
            texts[name] = text
            todo += [(n, s) for n, s in known.items() if n not in texts and mentioned(n, text)]
    return "\n".join(texts.values())


def asks_who_calls(source: str) -> bool:
    """Whether the text looks at the caller's token at all."""
    return _ASKS.search(source) is not None


def acts_outside(source: str) -> str:
    """What it calls that no rollback undoes, or that waits; empty where nothing."""
    found = _OUTSIDE.search(source)
    return "" if found is None else " ".join(found[0].split()).rstrip(" (")


def tables_in(source: str, tables: Mapping[str, Table]) -> tuple[Table, ...]:
    """Tables that the text names, with their schema or without."""
    return tuple(table for table in tables.values() if mentioned(parts(table.name)[-1], source))
