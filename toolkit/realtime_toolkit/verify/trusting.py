"""What ``updated_at`` and ``version`` are worth: findings about changes they do not tell, and who else sets them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.kept import UPSERT, Pace
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Rule
from realtime_toolkit.verify.names import parts, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from realtime_toolkit.verify.kept import Dropped, Given, Keeping, Kept

UPD010 = Rule(
    "UPD010", "updated_at", "An UPDATE does not move updated_at forward, although a trigger seems to"
)
UPD011 = Rule(
    "UPD011",
    "updated_at",
    "A client sets updated_at or version in an UPDATE",
    "Who merges by the latest then ignores what came later, or never sees the change at all.",
)
UPD012 = Rule(
    "UPD012",
    "updated_at",
    "A client sets updated_at or version of a new row",
    "A row of the year 2100 outranks every later change, or goes back in time with the next one.",
)
UPD013 = Rule("UPD013", "updated_at", "updated_at or version is taken from another column of the row")
UPD014 = Rule(
    "UPD014",
    "updated_at",
    "A version does not count every UPDATE",
    "Who compares it before writing overwrites what somebody else has changed meanwhile.",
)
UPD015 = Rule(
    "UPD015",
    "updated_at",
    "An UPDATE is swallowed without an error",
    "Nothing is written to the log, so nobody receives anything, and the writer believes that all is well.",
)
RULES = (UPD010, UPD011, UPD012, UPD013, UPD014, UPD015)

_STALE = frozenset({"UPD002", "UPD005", "UPD006", "UPD007", "UPD008", "TRK001", "PUB007", "PUB008"})
"""Where these say already that updated_at is not kept, or that no update can be made."""
_UNCHANGEABLE = frozenset({"PUB007", "PUB008", "TRK001"})


def judge_keeping(keeping: Keeping, codes: Mapping[str, frozenset[str]]) -> tuple[CheckResult, ...]:
    """One verdict a rule; ``codes`` are those of what was found already, by table."""
    causes = [
        (kept, _cause(kept))
        for kept in keeping.kept
        if not codes.get(kept.table, frozenset()) & (_UNCHANGEABLE if kept.counts else _STALE)
    ]
    undecided = shown("; ".join(keeping.undecided))
    same = f"for the same reasons as {UPD010.code}" if undecided else ""
    dropped = [
        _dropped(each) for each in keeping.dropped if not codes.get(each.table, frozenset()) & _UNCHANGEABLE
    ]
    return tuple(
        CheckResult.of(
            rule,
            dropped
            if rule is UPD015
            else [_TOLD[rule.code](kept) for kept, cause in causes if cause is rule],
            undecided if rule is UPD010 else same,
        )
        for rule in RULES
    )


def _cause(kept: Kept) -> Rule | None:
    """The one that explains the others: what a client may set at will also stands still now and then."""
    if kept.taken_from is not None:
        return UPD013
    now_and_then = not kept.always and all(s.pace is Pace.STUCK and not s.role for s in kept.still)
    if kept.on_update and now_and_then:
        return UPD011
    if kept.still:
        return UPD014 if kept.counts else UPD010
    return UPD011 if kept.on_update else UPD012 if kept.on_insert else None


# -- sentences -------------------------------------------------------------------------------------------------


def _still(kept: Kept) -> Finding:
    name, first = _name(kept), kept.still[0]
    where = f" as {first.role}" if first.role else ""
    what = (
        first.column
        if first.column == UPSERT
        else f"an UPDATE of {_listed(dict.fromkeys(s.column for s in kept.still))}"
    )
    verb = "count" if kept.counts else "move forward"
    if first.pace is Pace.STUCK:
        told = f"{name} does not {verb} with {what}{where}: it stays what it was, or goes back."
    elif first.pace is Pace.CUT:
        told = (
            f"{name} is cut to whole seconds or milliseconds: the second of two updates left it where it was."
        )
    else:
        told = (
            f"{name} is not strictly increasing: the second of two updates of {first.column} in one transaction{where} "
            "left it where it was."
        )
    level = Level.WARNING if kept.counts else Level.ERROR
    return _finding(UPD014 if kept.counts else UPD010, level, kept, told)


def _on_update(kept: Kept) -> Finding:
    given = kept.on_update
    beside = f", setting {given[0].beside} along with it" if given[0].beside else ""
    told = f"{_who(given)} can set {_name(kept)} to any value in an UPDATE{beside}: {_through(kept)}."
    return _finding(UPD011, Level.WARNING, kept, told)


def _on_insert(kept: Kept) -> Finding:
    what = f"any {kept.column}" if kept.counts else f"a {kept.column} far in the future"
    told = f"{_who(kept.on_insert)} can insert rows into {kept.table} with {what}: what it sends stays."
    return _finding(UPD012, Level.WARNING, kept, told)


def _taken(kept: Kept) -> Finding:
    told = (
        f"{_name(kept)} is taken from {kept.taken_from}, which whoever writes the row fills: it goes back with a late one, and "
        "far ahead with a wrong clock."
    )
    return _finding(UPD013, Level.WARNING, kept, told)


_TOLD: dict[str, Callable[[Kept], Finding]] = {
    "UPD010": _still,
    "UPD011": _on_update,
    "UPD012": _on_insert,
    "UPD013": _taken,
    "UPD014": _still,
}


def _finding(rule: Rule, level: Level, kept: Kept, told: str) -> Finding:
    return Finding.of(rule.code, level, _name(kept), told, _mend(kept), f"{rule.code} {_name(kept)}")


def _dropped(dropped: Dropped) -> Finding:
    by = " or ".join(dropped.by)
    if dropped.after:
        what = f"An UPDATE of {dropped.column} of {dropped.table} right after another one"
    elif dropped.column is not None:
        what = f"An UPDATE of {dropped.column} alone of {dropped.table}"
    else:
        what = f"Every UPDATE of {dropped.table}"
    return Finding.of(
        UPD015.code,
        Level.ERROR,
        dropped.table,
        f"{what} is swallowed without an error ({by}): the row stays as it was, and nobody receives anything.",
        f"-- in {by}: return new, or raise an exception that the writer sees",
        f"{UPD015.code} {dropped.table}",
    )


def _name(kept: Kept) -> str:
    return f"{kept.table}.{quoted(kept.column)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _who(given: Sequence[Given]) -> str:
    roles = " and ".join(dict.fromkeys(each.role for each in given))
    policies = dict.fromkeys(name for each in given for name in each.policies)
    through = " or ".join(f'"{name}"' for name in policies)
    return f"{roles} ({'policy' if len(policies) == 1 else 'policies'} {through})" if through else roles


def _through(kept: Kept) -> str:
    trigger = kept.triggers[0] if len(kept.triggers) == 1 else ""
    return f"the trigger {quoted(trigger)} lets stay what it sends" if trigger else "what it sends stays"


def _mend(kept: Kept) -> str:
    """A trigger that runs after the others and believes none of them; in an INSERT everything of OLD is null."""
    if kept.still and kept.still[0].column == UPSERT:
        return "-- an INSERT must not take the place of the row that is there: let ON CONFLICT DO UPDATE change it"
    schema, table = parts(kept.table)
    last = f"zz_keep_{table}_{kept.column}"[:50]
    while any(trigger >= last for trigger in kept.triggers):
        last = f"z{last}"
    name, column = quoted(last), quoted(kept.column)
    value = (
        f"coalesce(old.{column}, 0) + 1"
        if kept.counts
        else f"greatest(clock_timestamp(), old.{column} + interval '1 microsecond')"
    )
    function = f"{quoted(schema)}.{name}()"
    return (
        f"create function {function} returns trigger language plpgsql set search_path = '' as $$ begin "
        f"new.{column} := {value}; return new; end $$; "
        f"create trigger {name} before insert or update on {kept.table} for each row execute function {function};"
    )
