"""The three matrices as one reviewable text, and what changed between two of them. Pure but for the file.

One line an object, role and verb, so that a diff reads as a change of rights:

    access   public.orders  authenticated  select  own=allow other-tenant=deny
    deliver  public.orders  authenticated  INSERT  own=id,total other-tenant=-
    channel  room:{public.rooms.id}  authenticated  broadcast read  own=allow other-tenant=deny

Two blanks part the fields, so a name never holds two, nor what a line or a terminal acts on: those are spelled out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.shown import shown, shown_once
from realtime_toolkit.verify.access import Whose
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.probing import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from realtime_toolkit.verify.matrices import Matrices
    from realtime_toolkit.verify.model import Report
    from realtime_toolkit.verify.probing import Result

_ORDER = tuple(Whose)
SNP001 = Rule("SNP001", "snapshot", "Access differs from the snapshot")
_HEAD = (
    "# Who can do what, receive what and join what: written by `realtime-toolkit verify --update-snapshot`.\n"
    "# Rows are seen from one user: their own, of their tenant, of another tenant, and without an owner.\n"
)


def snapshot_text(matrices: Matrices) -> str:
    """The same text for the same rights, whatever the order they were found in."""
    cells: dict[str, dict[Whose, str]] = defaultdict(dict)
    for cell in matrices.access:
        cells[f"access   {_field(cell.table)}  {cell.role}  {cell.command.value}"][cell.whose] = _answer(
            cell.result
        )
    for delivery in matrices.deliveries:
        place = f"deliver  {_field(delivery.table)}  {delivery.role}  {delivery.event.value}"
        received = "-" if delivery.columns is None else ",".join(map(_item, delivery.columns)) or "(nothing)"
        cells[place][delivery.whose] = delivery.undecided or delivery.error.replace(" ", "-") or received
    for channel in matrices.channels:
        place = f"channel  {_field(channel.topic)}  {channel.role}  {channel.extension} {channel.action}"
        cells[place][channel.whose] = _answer(channel.result)
    lines = [f"{place}  {_row(answers)}\n" for place, answers in sorted(cells.items())]
    return _HEAD + "".join(lines)


_BETWEEN = re.compile(r"^ | $|(?<= ) ")
_PLAIN = re.compile(r"\w[\w$]*")
_ANSWER = re.compile(r"deny|-|\(nothing\)|(?:undecided|raises|fault)(?:\(\w{5}\))?|Error-\d{3}:.*")
"""What a line says instead of a right."""


def _field(name: str) -> str:
    return _BETWEEN.sub(r"\\x20", shown(name))


def _item(column: str) -> str:
    """A column in a list between commas; quoted where it could be read as something else."""
    if _PLAIN.fullmatch(column) and not _ANSWER.fullmatch(column):
        return column
    spelled = re.sub("[ ,=]", lambda odd: f"\\x{ord(odd[0]):02x}", shown(column))
    return '"' + spelled.replace('"', '""') + '"'


def _answer(result: Result) -> str:
    if result.answer in (Answer.ALLOW, Answer.DENY):
        return result.answer.value
    return f"{result.answer.value}({result.sqlstate})" if result.sqlstate else result.answer.value


def _row(answers: dict[Whose, str]) -> str:
    return " ".join(
        f"{whose.value.replace(' ', '-')}={answer}"
        for whose, answer in sorted(answers.items(), key=lambda cell: _ORDER.index(cell[0]))
    )


def read_snapshot(path: Path) -> str | None:
    """The stored text, or ``None`` if there is none. Raises :class:`ConfigError`."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the snapshot {path}: {error}") from None


def write_snapshot(path: Path, report: Report) -> None:
    """Raises :class:`ConfigError` where there are no matrices, or the file cannot be written."""
    if report.matrices is None:
        raise ConfigError("the matrices were not run, so there is nothing to write (see --allow-writes)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(snapshot_text(report.matrices), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write the snapshot {path}: {error}") from None


def compare(stored: str, matrices: Matrices, path: Path) -> CheckResult:
    """A finding for every line that is new, gone or different, at its line of the stored file.

    Raises :class:`ConfigError` for a line that is none of a snapshot's, as a merge leaves them.
    """
    strange = next((number for number, place, _ in _numbered(stored) if "  " not in place), None)
    if strange is not None:
        raise ConfigError(f"{path}:{strange} is no line of a snapshot (write it anew: --update-snapshot)")
    before, after = _lines(stored), _lines(snapshot_text(matrices))
    numbers = {place: number for number, place, _ in _numbered(stored)}
    whole = _come_and_gone(before, after)
    findings = tuple(
        _changed(place, before.get(place), after.get(place), numbers.get(place, 1), path)
        for place in sorted(before.keys() | after.keys())
        if before.get(place) != after.get(place) and _subject(place) not in whole
    )
    at_once = tuple(_whole(subject, told, numbers, path) for subject, told in sorted(whole.items()))
    return CheckResult(SNP001, Outcome.FAIL if findings or at_once else Outcome.PASS, (*findings, *at_once))


def _subject(place: str) -> tuple[str, str]:
    """The verb of the matrix and its object: ``access``, ``public.notes``."""
    verb, name, *_ = (part for part in place.split("  ") if part)
    return verb, name.strip()


def _come_and_gone(before: Mapping[str, str], after: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """What has all of its lines on one side only: a table that was dropped, or that left the publication."""
    told = dict.fromkeys(map(_subject, before), "gone")
    for subject in map(_subject, after):
        told[subject] = "new" if told.get(subject) in (None, "new") else ""
    return {subject: word for subject, word in told.items() if word}


def _whole(subject: tuple[str, str], word: str, numbers: Mapping[str, int], path: Path) -> Finding:
    verb, name = subject
    said = {
        "access": ("who may read and write it is no longer judged: it was dropped, or no client reaches it", "clients reach it"),
        "deliver": ("its changes reach nobody any more: it left the publication", "its changes are delivered: it is published"),
        "channel": ("nobody may use this private topic any more", "this private topic may be used"),
    }  # fmt: skip
    gone, new = said.get(verb, ("its lines are gone", "its lines are new"))
    line = min((number for place, number in numbers.items() if _subject(place) == subject), default=1)
    return Finding(
        "SNP001",
        Level.ERROR,
        name,
        f"Access {'narrowed' if word == 'gone' else 'widened'}: {verb} {name}: {gone if word == 'gone' else new}.",
        "realtime-toolkit verify --update-snapshot  -- if this is meant",
        f"SNP001 {verb} {name} {word}",
        shown(path.as_posix()),
        line,
    )


def _changed(place: str, before: str | None, after: str | None, line: int, path: Path) -> Finding:
    told = " ".join(place.split())
    return Finding(
        "SNP001",
        Level.ERROR,
        place.split("  ")[1].strip(),
        f"{_direction(before, after)}: {told}: {before or 'nothing'} in the snapshot, {after or 'nothing'} now.",
        "realtime-toolkit verify --update-snapshot  -- if this is meant",
        f"SNP001 {told} {after or ''}".rstrip(),
        shown(path.as_posix()),
        line,
    )


def _direction(before: str | None, after: str | None) -> str:
    """``widened``, ``narrowed`` or ``changed``, counting who may."""
    gained, lost = _granted(after) - _granted(before), _granted(before) - _granted(after)
    if gained and not lost:
        return "Access widened"
    if lost and not gained:
        return "Access narrowed"
    return "Access changed"


def _granted(row: str | None) -> frozenset[str]:
    """Every single right in a line: ``own=allow``, ``own=id``, ``own=title``."""
    found = set()
    for part in (row or "").split():
        whose, _, answer = part.partition("=")
        if not _ANSWER.fullmatch(answer):
            found |= {f"{whose}={item}" for item in answer.split(",")}
    return frozenset(found)


def _lines(text: str) -> dict[str, str]:
    return {place: answers for _, place, answers in _numbered(text)}


def _numbered(text: str) -> list[tuple[int, str, str]]:
    lines = [
        (number, *line.rpartition("  ")[::2])
        for number, line in enumerate(map(shown_once, text.splitlines()), start=1)
        if line.strip() and not line.startswith("#")
    ]
    return [(number, place.strip(), answers.strip()) for number, place, answers in lines]
