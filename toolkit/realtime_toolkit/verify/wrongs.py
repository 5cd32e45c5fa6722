"""What can be written and should not, as findings. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_toolkit.verify.access import Command
from realtime_toolkit.verify.deeds import Deed
from realtime_toolkit.verify.model import Finding, Level, Rule
from realtime_toolkit.verify.strangers import policies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from realtime_toolkit.verify.deeds import Wrong
    from realtime_toolkit.verify.matrices import Matrices
    from realtime_toolkit.verify.strangers import Told

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
ACC010 = Rule("ACC010", "access", "A user can delete a shared row that only a role may change")
WRONGS = (ACC004, ACC005, ACC006, ACC007, ACC008, ACC009, ACC010)

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
    Deed.REMOVES: "ACC010",
}
_SAID = {
    Deed.REMOVES: "{role} can delete rows of {table} that he may not change{state}, through {ways}: changing them takes a role "
    "that deleting does not.",
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
    Deed.REMOVES: "-- {ways} on {table} must ask for the role that the UPDATE policies ask for",
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


def causes(matrices: Matrices, told: Told) -> tuple[Wrong, ...]:
    """One a table and cause: what static checks or the matrix say of the same policies is not said again."""
    order = list(Deed)
    kept: list[Wrong] = []
    for wrong in sorted(matrices.wrongs, key=lambda w: order.index(w.deed)):
        said = told.covers(wrong.table, wrong.ways) or _in_the_matrix(matrices, wrong)
        same = (k for k in kept if k.table == wrong.table and set(wrong.ways) <= set(k.ways))
        if not said and not any(_is_the_same(k, wrong) for k in same):
            kept.append(wrong)
    return tuple(kept)


def _is_the_same(first: Wrong, wrong: Wrong) -> bool:
    """A column that the server is to write is one thing, whose the row becomes another."""
    if wrong.deed is Deed.RESERVED:
        return first.deed is Deed.READING or bool(set(wrong.columns) & set(first.columns))
    return True


def _in_the_matrix(matrices: Matrices, wrong: Wrong) -> bool:
    if wrong.deed in (Deed.READING, Deed.RESERVED, Deed.GAINS):
        return False
    reached = {
        way
        for (table, _, command), ways in matrices.ways.items()
        if table == wrong.table and command is not Command.SELECT
        for way in ways
    }
    return bool(wrong.ways) and set(wrong.ways) <= reached


def wrongs(found: Iterable[Wrong], code: str) -> Iterator[Finding]:
    """The findings of one code."""
    return (_finding(wrong) for wrong in found if _CODES[wrong.deed] == code)


def _finding(wrong: Wrong) -> Finding:
    words = {
        "role": wrong.role,
        "table": wrong.table,
        "commands": wrong.command.value,
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
