"""Which attempts are made on a table, and what the names of its columns say of them. Pure.

What can be tried is tried; names decide where no trial can: whether a user's column says who wrote the row or whom it
is about, and whether a column is its owner's business or the server's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime_toolkit.verify.names import parts
from realtime_toolkit.verify.tables import USERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.tables import Column, ForeignKey, Model, Policy, Table

ABOUT = re.compile(
    r"assign|recipient|receiv|invite|target|follow(ed|ing|ee)|friend|addressee|mention|viewer|shared?_?(with|to)|(^|_)to(_|$)|"
    r"worker|driver|agent|handler|claimed|reviewed|approv|delegat|contact|opponent|subject|blocked|liked|rated|grant|partner|"
    r"manager|supervisor|mentor|coach|doctor|teacher|second|other|peer|callee|payee",
    re.IGNORECASE,
)
"""A user's column whose user the row is about, rather than its author or owner."""
SIGNING = re.compile(r"_by$|author|sender|creator|owner|from_", re.IGNORECASE)
"""A user's column that says who did it, whatever other column is bound to the writer."""
_GUEST = re.compile(
    r"favou?rit|bookmark|wish|watch|cart|request|invit|applicat|report|follow|like|vote|reaction|notif|block|view|click|event|log|visit|rsvp",
    re.I,
)
"""Tables whose rows are sent to what one may not read: asking to be let in."""

_POWER = re.compile(
    r"^(is_?)?(site_?|super_?|org_?|platform_?|system_?)?(admin(istrator)?|super_?user|staff|moderator|root|owner)$|^(user_?|app_?|account_?|platform_?)?roles?$|"
    r"^access_?level$|^permissions?$|^privileges?$",
    re.IGNORECASE,
)
_PAID = re.compile(
    r"stripe|(^|_)(plan|tier|credits?|balance|quota|coins|wallet|seats|entitlement)(_|$)|^(subscription|billing|payment)_?(status|tier|plan|state|id)?$|"
    r"^(is_?)?(paid|premium|pro)(_?(at|until|status))?$|_paid$|paid_(at|by)$|(trial|plan)_ends",
    re.IGNORECASE,
)
_CERTIFIED = re.compile(
    r"^(is_?)?(verified|approved|certified|trusted|vetted|banned|suspended|featured|promoted)(_?(at|by|on))?$|^verification_?(status|state|level)$|"
    r"^(kyc|review|approval|moderation)_?(status|state)$",
    re.IGNORECASE,
)
_RATED = re.compile(r"^(average_?)?(rating|reputation|stars|karma)$", re.IGNORECASE)
_PRICE = re.compile(r"price|amount|total|cost|discount|fee(_|$)|(^|_)rate$|cents$", re.IGNORECASE)
_BOUGHT = re.compile(
    r"order|reservation|booking|purchase|checkout|rental|ticket_sale|line_?item|subscription", re.IGNORECASE
)
_SCORED = re.compile(
    r"(^|_)(score|coins|xp|level|wins|rank|elo|gems|gold|high_?score|points|experience)(_|$)", re.IGNORECASE
)
_STATS = re.compile(
    r"stat|score|leaderboard|ranking|wallet|player|result|progress_?record|achievement", re.IGNORECASE
)
_WORKED = re.compile(
    r"^(result|output|cost|cost_\w+|tokens?(_used)?|worker_id|finished_at|completed_at|exit_code|attempts?)$",
    re.I,
)
_JOBS = re.compile(r"(^|_)(job|run|build|execution|queue|render|export|import)s?(_|$)", re.IGNORECASE)
_BILLED = re.compile(
    r"(^|_)(subscription|entitlement|licen[cs]e|quota|billing_account|wallet|credit_balance)s?$",
    re.IGNORECASE,
)
READING = re.compile(
    r"\b(read(er)?|view(er)?|see|select|access|look|show|visible|fetch|list)(s|ing|able)?\b", re.IGNORECASE
)
CHANGING = re.compile(
    r"edit|manag|writ|updat|chang|full|modif|creat|insert|delet|maintain|own|crud|everything|work",
    re.IGNORECASE,
)
SUBJECT = re.compile(
    r"patient|student|pupil|viewer|reader|recipient|guest|shared|grantee|candidate|learner|tenant_user", re.I
)


@dataclass(frozen=True, slots=True)
class Owning:
    """The columns of a table by which its rows belong to somebody."""

    users: tuple[str, ...]
    """Hold a user's id, directly or as the key of a profile."""
    parents: tuple[ForeignKey, ...]
    """Lead to a row that is somebody's."""
    tenants: tuple[str, ...]


def owning(table: Table, model: Model, belonging: Belonging) -> Owning:
    users = set(belonging.users.get(table.name, frozenset()))
    parents = []
    for key in table.foreign_keys:
        profile = set(key.target_columns) <= belonging.users.get(key.target, frozenset())
        if key.target == USERS or (profile and len(key.columns) == 1):
            users |= set(key.columns)
        elif key.target in belonging.owned:
            parents.append(key)
    tenants = (
        belonging.tenants.get(table.name, frozenset()) - users - set(table.key if len(table.key) == 1 else ())
    )
    order = [column.name for column in table.columns]
    return Owning(
        tuple(sorted(users, key=order.index)),
        tuple(key for key in parents if not set(key.columns) <= users),
        tuple(sorted(tenants, key=order.index)),
    )


def is_letter_box(table: Table) -> bool:
    return bool(_GUEST.search(parts(table.name)[-1]))


def reserved(table: Table, column: Column, *, personal: bool, bought: bool) -> bool:
    """Whether the server, or somebody mightier than the row's owner, is to write this column.

    ``personal``: the table holds one row a user; ``bought``: a row is a user's own, not a shop's.
    """
    name, of = _words(column.name), _words(parts(table.name)[-1])
    if column.generated or name in table.key:
        return False
    if _PAID.search(name) or _CERTIFIED.search(name):
        return personal or bool(_PAID.search(name) and _BOUGHT.search(of)) or bool(_CERTIFIED.search(name))
    if _POWER.search(name) or _RATED.search(name):
        return personal
    pairs = ((_SCORED, _STATS), (_WORKED, _JOBS), *(((_PRICE, _BOUGHT),) if bought else ()))
    return any(column_says.search(name) and table_says.search(of) for column_says, table_says in pairs)


def is_billed(table: Table) -> bool:
    """Whether all of a row is the server's: what was paid for."""
    return bool(_BILLED.search(_words(parts(table.name)[-1])))


def meant_for_reading(policy: Policy) -> bool:
    """A policy FOR ALL whose name speaks of reading alone."""
    named = _words(policy.name).replace("_", " ")
    return policy.command == "*" and bool(READING.search(named)) and not CHANGING.search(named)


def another(column: Column, value: str | None, allowed: tuple[str, ...]) -> Iterator[str]:
    """Other values for this column, the likeliest first; ``allowed`` are those that a check speaks of."""
    match column.base:
        case "boolean":
            yield "false" if value in ("t", "true") else "true"
        case "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision":
            yield from (text for text in ("3", "5", "7") if text != value)
        case base if base.startswith("timestamp") or base == "date":
            yield "2026-02-03"
        case "json" | "jsonb":
            yield '{"probe": true}'
        case "uuid":
            yield "5b3c0a52-6b0e-4d7c-9b0f-0d1f5a0c9d11"
        case _:
            yield from (v for v in (*column.labels, *allowed) if v != value)
            if column.base in ("text", "character varying"):
                yield "probe value"


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
