"""What the broadcasts mean: findings about who hears what triggers send, and who does not. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.access import Whose
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.names import quoted
from realtime_toolkit.verify.probing import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from realtime_toolkit.verify.channels import ChannelCell
    from realtime_toolkit.verify.sent import Broadcasts, Sent
    from realtime_toolkit.verify.tables import Policy

BRC001 = Rule(
    "BRC001",
    "broadcast",
    "A broadcast tells more people than may read the row",
    "RLS of the table does not hold for what a trigger sends: the topic decides, and who may join it.",
)
BRC002 = Rule("BRC002", "broadcast", "A private topic is sent to that nobody may join")
BRC003 = Rule("BRC003", "broadcast", "A broadcast carries columns that its hearers may not select")
BRC004 = Rule("BRC004", "broadcast", "A change of what a topic is named after goes to the old topic alone")
BRC005 = Rule(
    "BRC005",
    "broadcast",
    "A trigger that should broadcast sends nothing",
    "An EXCEPTION handler hides why: a call that does not resolve (42883), a value that does not fit.",
)
CHN002 = Rule(
    "CHN002",
    "private-channels",
    "A policy raises on the topics of others",
    "Every policy is evaluated for every topic: one that raises refuses the join, whatever the others say.",
)
RULES = (BRC001, BRC002, BRC003, BRC004, BRC005, CHN002)

_OPEN_CHANNELS = frozenset({"MSG001", "MSG002", "MSG003"})


def judge_broadcasts(
    broadcasts: Broadcasts | None,
    cells: Sequence[ChannelCell],
    policies: Sequence[Policy],
    found: Iterable[Finding],
    unheard: str = "",
) -> tuple[CheckResult, ...]:
    """One verdict a rule; what ``found`` holds of topics that are open anyhow is not told twice.

    ``unheard`` says why no message can be stored: then that none was heard proves nothing.
    """
    if broadcasts is None:
        return tuple(
            CheckResult(rule, Outcome.SKIPPED, reason="there is no realtime.messages") for rule in RULES
        )
    if unheard:
        return tuple(CheckResult(rule, Outcome.UNDECIDED, reason=unheard) for rule in RULES)
    told = tuple(found)
    channels_are_open = any(f.code in _OPEN_CHANNELS for f in told)
    strange = {f.object for f in told if f.code == "CHN001"}
    wide = list(_wider(broadcasts, strange, channels_are_open=channels_are_open))
    nobody, open_ = _unjoinable(broadcasts, policies)
    blind = any(f.code.startswith("RLS") and f.object.endswith(" on realtime.messages") for f in told)
    if blind or (any(f.code == "MSG006" for f in told) and not _may_join(policies)):
        nobody = []  # why is told
    left, (silent, unsaid) = list(_left(broadcasts)), _silent(broadcasts)
    nobody = [finding for finding in nobody if finding.object not in {f.object for f in left}]
    return (
        CheckResult.of(BRC001, wide),
        CheckResult.of(BRC002, nobody, shown("; ".join(open_))),
        CheckResult.of(BRC003, _hidden(broadcasts)),
        CheckResult.of(BRC004, left),
        CheckResult.of(BRC005, silent, shown("; ".join(unsaid))),
        CheckResult.of(CHN002, _raising(cells, policies)),
    )


def _object(functions: Sequence[str], table: str) -> str:
    return f"function {functions[0]}" if len(functions) == 1 else table


def _by(functions: Sequence[str]) -> str:
    return " and ".join(functions)


def _wider(broadcasts: Broadcasts, strange: set[str], *, channels_are_open: bool) -> Iterator[Finding]:
    leaks: dict[tuple[str, bool], list[tuple[Sent, set[str]]]] = defaultdict(list)
    for sent in broadcasts.sent:
        if not sent.carried or (
            sent.private and (channels_are_open or f"private topic {sent.topic}" in strange)
        ):
            continue
        roles = {
            h.role
            for h in sent.hearers
            if h.whose is not Whose.OWN and h.joins is Answer.ALLOW and h.reads is Answer.DENY
        }
        if roles:
            leaks[_object(sent.functions, sent.table), sent.private].append((sent, roles))
    for (name, private), those in leaks.items():
        sent = those[0][0]
        hearing = sorted({role for _, roles in those for role in roles})
        topics = ", ".join(sorted({each.topic for each, _ in those}))
        carried = ", ".join(sorted({column for each, _ in those for column in each.carried}))
        who = (
            f"{' and '.join(hearing)} may join it and not read the row"
            if private
            else "whoever has the project's public key hears it"
        )
        yield Finding.of(
            "BRC001",
            Level.ERROR,
            name,
            f"{_by(sent.functions)} sends rows of {sent.table} ({carried}) to the {'private' if private else 'public'} "
            f"topic {topics}: {who}.",
            "-- name the topic after whom the row is for, and let the policies of realtime.messages ask the same as those of "
            f"{sent.table}" + ("" if private else "; realtime.send(…, private => true)"),
            f"BRC001 {name} {sent.table} {'private' if private else 'public'}",
        )


_HEAD = re.compile(r"^[^:/.{-]*[:/.{-]?")
"""What kind of topic it is: ``room:``."""


def _unjoinable(broadcasts: Broadcasts, policies: Sequence[Policy]) -> tuple[list[Finding], list[str]]:
    by_kind: dict[tuple[tuple[str, ...], str], list[Sent]] = defaultdict(list)
    for sent in broadcasts.sent:
        # Of somebody else's row Alice is not meant to hear.
        if sent.private and any(h.whose in (Whose.OWN, Whose.OWNERLESS) for h in sent.hearers):
            by_kind[sent.functions, _HEAD.findall(sent.topic)[0]].append(sent)
    found: list[Finding] = []
    undecided: list[str] = []
    for (functions, _), those in by_kind.items():
        if any(sent.joined for sent in those):
            continue
        name, topic = _object(functions, those[0].table), those[0].topic
        if _asks_more(topic, policies):
            undecided.append(
                f"{topic}, to which {_by(functions)} sends: none of the probe's users may join it, and its policy asks for "
                "a claim or a role (say the claims in supabase/verify.toml)"
            )
            continue
        raises = any(h.joins is Answer.RAISES for each in those for h in each.hearers)
        found.append(
            Finding.of(
                "BRC002",
                Level.ERROR,
                name,
                f"{_by(functions)} sends changes of {those[0].table} to the private topic {topic}, and nobody may join it: "
                f"{_why(policies, raises=raises)}.",
                "create policy "
                f"\"listen\" on realtime.messages for select to authenticated using (extension = 'broadcast' and "
                f"(select realtime.topic()) = /* {topic} of this user */);",
                f"BRC002 {name} {topic}",
            )
        )
    return found, undecided


def _why(policies: Sequence[Policy], *, raises: bool) -> str:
    if raises:
        return "a policy on realtime.messages raises on it"
    if not _may_join(policies):
        return "realtime.messages has no policy for SELECT, so every join of a private channel is refused"
    return "no policy on realtime.messages lets the owner of the row in"


def _may_join(policies: Sequence[Policy]) -> bool:
    return any(policy.command in ("r", "*") for policy in policies)


_ASKS_MORE = re.compile(
    r"jwt\(\)|claims|\b\w*(?:role|admin|staff|moderator|owner_only)\w*\s*(?:=|in\b|\))", re.I
)


def _asks_more(topic: str, policies: Sequence[Policy]) -> bool:
    """Whether a policy means this topic, and asks for more than who the user is."""
    prefix = topic.partition("{")[0]
    for policy in policies:
        theirs = (
            body for name, body in policy.functions.items() if not name.startswith(("auth.", "realtime."))
        )
        text = " ".join((policy.text, *theirs))
        meant = f"'{prefix}" in text or f"'{prefix.rstrip(':/-_.')}'" in text if prefix else True
        if policy.command in ("r", "*") and meant and _ASKS_MORE.search(text.replace("auth.role()", "")):
            return True
    return False


def _hidden(broadcasts: Broadcasts) -> Iterator[Finding]:
    hidden: dict[str, tuple[Sent, set[str], set[str]]] = {}
    for sent in broadcasts.sent:
        hear = {h.role for h in sent.hearers if h.joins is Answer.ALLOW and h.reads is Answer.ALLOW}
        for role, columns in sent.unreadable:
            if role in hear and columns:
                name = _object(sent.functions, sent.table)
                _, roles, all_ = hidden.setdefault(name, (sent, set(), set()))
                roles.add(role)
                all_ |= set(columns)
    for name, (sent, roles, kept) in hidden.items():
        listed = ", ".join(sorted(kept))
        yield Finding.of(
            "BRC003",
            Level.ERROR,
            name,
            f"{_by(sent.functions)} sends {listed} of {sent.table} to the topic {sent.topic}; {' and '.join(sorted(roles))} "
            "may join it and has no SELECT privilege on these columns.",
            f"-- send the columns that are meant: jsonb_build_object('id', new.id, …) without {listed}",
            f"BRC003 {name} {sent.table}",
        )


def _left(broadcasts: Broadcasts) -> Iterator[Finding]:
    for left in broadcasts.left:
        name = _object(left.functions, left.table)
        yield Finding.of(
            "BRC004",
            Level.ERROR,
            name,
            f"When {left.column} of {left.table} changes, {_by(left.functions)} sends to the topic of the old value alone "
            f"({left.topic}): who listens to the new one never hears of the row.",
            f"-- send to the topic of new.{left.column} too, or name the topic after a key that does not change",
            f"BRC004 {name} {left.table}.{left.column}",
        )


def _silent(broadcasts: Broadcasts) -> tuple[list[Finding], list[str]]:
    found: list[Finding] = []
    undecided: list[str] = []
    for silent in broadcasts.silent:
        name = _object(silent.functions, silent.table)
        if not silent.swallows and not silent.warning:
            undecided.append(f"{name}: no change that was tried made it send anything")
            continue
        said = f": {silent.warning}" if silent.warning else ", and its EXCEPTION handler says nothing of why"
        found.append(
            Finding.of(
                "BRC005",
                Level.ERROR,
                name,
                f"{_by(silent.functions)} should broadcast changes of {silent.table} and sends nothing{said}.",
                "-- the arguments are realtime.send(payload jsonb, event text, topic text, private boolean)",
                f"BRC005 {name} {silent.table}",
            )
        )
    return found, undecided


def _raising(cells: Sequence[ChannelCell], policies: Sequence[Policy]) -> Iterator[Finding]:
    raised: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        meant = cell.topic != "(any other topic)" and cell.role != "service_role"
        if meant and cell.action == "read" and cell.result.answer is Answer.RAISES:
            raised[cell.result.sqlstate].add(cell.topic)
    for sqlstate, topics in raised.items():
        guilty = [p.name for p in policies if p.command in ("r", "*") and re.search(r"::\w+|CAST", p.text)]
        of = " or ".join(guilty) or "one of them"
        name = f"policy {quoted(guilty[0])} on realtime.messages" if len(guilty) == 1 else "realtime.messages"
        yield Finding.of(
            "CHN002",
            Level.ERROR,
            name,
            f"A policy on realtime.messages ({of}) raises {sqlstate} for the private topic {', '.join(sorted(topics))}: nobody "
            "can join it, whatever the other policies say.",
            "-- look at the topic's shape before casting a part of it: case when realtime.topic() ~ '^room:[0-9a-f-]{36}$' "
            "then … else false end",
            f"CHN002 {name} {sqlstate}",
        )
