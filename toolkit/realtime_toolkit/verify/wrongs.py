"""What can be written and should not, as findings. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_toolkit.verify.model import Finding, Level, Rule
from realtime_toolkit.verify.strangers import Told, policies
from realtime_toolkit.verify.writing import Deed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from realtime_toolkit.verify.matrices import Matrices
    from realtime_toolkit.verify.writing import Wrong

ACC004 = Rule(
    "ACC004",
    "access",
    "A user gains access by a row that he writes himself",
    "A membership or a role is worth as much as the policy that lets it be written.",
)
ACC005 = Rule(
    "ACC005", "access", "A user can set a column that is the server's, or somebody mightier's, to write"
)
ACC006 = Rule(
    "ACC006",
    "access",
    "A user can change or delete rows that he may not read",
    "A statement without a WHERE is bound by the policies of UPDATE or DELETE alone.",
)
ACC007 = Rule("ACC007", "access", "Rows without an owner can be changed or claimed by everybody")
ACC008 = Rule("ACC008", "access", "A policy meant for reading is FOR ALL and lets rows be changed")
ACC009 = Rule(
    "ACC009",
    "access",
    "Somebody without an identity reaches rows that a user does not",
    "A comparison that takes null for equal to null lets in whoever has no id or claim at all.",
)
WRONGS = (ACC004, ACC005, ACC006, ACC007, ACC008, ACC009)

_CODES = {
    Deed.REACHES: "ACC002",
    Deed.TAKES: "ACC002",
    Deed.MOVES: "ACC002",
    Deed.NAMES: "ACC002",
    Deed.ENTERS: "ACC002",
    Deed.GAINS: "ACC004",
    Deed.RESERVED: "ACC005",
    Deed.UNSEEN: "ACC006",
    Deed.OWNERLESS: "ACC007",
    Deed.READING: "ACC008",
    Deed.NULLS: "ACC009",
}
_SAID = {
    Deed.REACHES: "{role} can {commands} rows of {table} that belong to another tenant or user{state}, through {ways}.",
    Deed.TAKES: "{role} can take over rows of {table} that belong to another tenant or user by setting {columns}{state}, "
    "through {ways}.",
    Deed.MOVES: "{role} can move own rows of {table} to another user or tenant by setting {columns}{state}, through {ways}.",
    Deed.NAMES: "{role} can insert rows of {table} in another user's name, in {columns}{state}, through {ways}.",
    Deed.ENTERS: "{role} can insert rows of {table} into what belongs to another tenant or user, by {columns}{state}, "
    "through {ways}.",
    Deed.GAINS: "{role} can {commands} a row of {table} for himself, with {columns} as he likes, and then reaches rows of "
    "others that were closed to him, through {ways}.",
    Deed.RESERVED: "{role} can {commands} own rows of {table} with {columns} as he likes, through {ways}: that is for the "
    "server, or somebody mightier, to say.",
    Deed.UNSEEN: "{role} can {commands} rows of {table} that he may not read{state}, through {ways}: without a WHERE the "
    "SELECT policies do not matter.",
    Deed.OWNERLESS: "{role} can {commands} rows of {table} that have no owner, or claim them, through {ways}.",
    Deed.READING: "{role} can {commands} rows of {table} through {ways}, which is FOR ALL although its name speaks of "
    "reading.",
    Deed.NULLS: "{role} without an identity or claim can {commands} rows of {table} that a user with one cannot, through "
    "{ways}: null is taken for equal to null.",
}
_MENDS = {
    Deed.REACHES: "-- {ways} on {table} must ask whose the row is",
    Deed.TAKES: "-- USING of {ways} on {table} must ask whose the row is now, not whose it becomes",
    Deed.MOVES: "-- WITH CHECK of {ways} on {table} must ask for {columns}; or: revoke update on {table} from authenticated; "
    "grant update (…) on it for the other columns",
    Deed.NAMES: "-- WITH CHECK of {ways} on {table} must compare {columns} with (select auth.uid())",
    Deed.ENTERS: "-- WITH CHECK of {ways} on {table} must ask whose {columns} leads to",
    Deed.GAINS: "-- {ways} on {table} must not let the user choose {columns}: revoke the columns, or compare with what is stored",
    Deed.RESERVED: "-- revoke {commands} on {table} from authenticated, and grant it for the columns that are the user's own",
    Deed.UNSEEN: "-- {ways} on {table} must ask what the SELECT policies ask, too",
    Deed.OWNERLESS: "-- {ways} on {table} must not let in for a null: ask (select auth.uid()) = the owner",
    Deed.READING: "-- make {ways} on {table} again FOR SELECT",
    Deed.NULLS: "-- {ways} on {table}: compare with =, which is never true of a null, and add TO authenticated",
}


def wrongs(matrices: Matrices, told: Told, code: str) -> Iterator[Finding]:
    """The findings of one code; what a static check said of the same policies is not said again."""
    for wrong in matrices.wrongs:
        if _CODES[wrong.deed] == code and not told.covers(wrong.table, wrong.ways):
            yield _finding(wrong)


def explained(found: Iterable[Finding]) -> frozenset[str]:
    return frozenset(finding.object for finding in found)


def _finding(wrong: Wrong) -> Finding:
    words = {
        "role": wrong.role,
        "table": wrong.table,
        "commands": " and ".join(command.value for command in wrong.commands),
        "columns": " and ".join(wrong.columns) or "its columns",
        "ways": policies(wrong.ways),
        "state": f" ({wrong.state})" if wrong.state else "",
    }
    code = _CODES[wrong.deed]
    return Finding.of(
        code,
        Level.ERROR,
        wrong.table,
        _SAID[wrong.deed].format(**words),
        _MENDS[wrong.deed].format(**words),
        f"{code} {wrong.table} {wrong.deed.name} {words['commands']} {words['columns']}",
    )
