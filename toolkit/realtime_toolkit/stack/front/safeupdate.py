"""What the extension safeupdate does to requests on a hosted project: UPDATE and DELETE of a whole table are refused.

There it is a library in the sessions of ``authenticator``; the stack's Postgres has no such library, so the front refuses
what PostgREST would make such a statement of. What the body of a function does, only the library sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATEMENTS = {"PATCH": "UPDATE", "DELETE": "DELETE"}
_NO_FILTERS = frozenset(("select", "order", "columns", "on_conflict"))
"""``limit`` and ``offset`` are not among them: PostgREST turns them into a WHERE clause."""


def whole_table(method: str, path: str, query: str, headers: Mapping[bytes, bytes]) -> str | None:
    """``UPDATE`` or ``DELETE`` if that is what the request would do to a whole table; ``path`` is below ``/rest/v1``. Pure."""
    statement = _STATEMENTS.get(method)
    if statement is None or "/" in path.strip("/") or not path.strip("/"):
        return None
    if statement == "UPDATE" and headers.get(b"content-length") == b"2":
        return None  # {} or []: PostgREST updates nothing
    names = (name for name, _ in parse_qsl(query, keep_blank_values=True))
    return None if any(_is_filter(name) for name in names) else statement


def _is_filter(name: str) -> bool:
    """Of the table itself: ``id``, ``or``, ``not.and``, ``data->>a``; not ``author.name``, which is of an embedded one."""
    if name in ("not.and", "not.or") or name.startswith('"'):
        return True
    return name not in _NO_FILTERS and "." not in name.partition("->")[0]


def refusal(statement: str) -> dict[str, str | None]:
    """As PostgREST renders the library's error; the status is 400."""
    message = f"{statement} requires a WHERE clause"
    return {"code": "21000", "details": None, "hint": None, "message": message}
