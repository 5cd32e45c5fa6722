"""A subscriber's local copy of one scope: what came over the stream and what syncs brought, merged.

No sockets, no clock, no waiting. Three things come in, events come out:

- :meth:`Replica.apply` takes one change of the stream;
- :meth:`Replica.merge` takes a page of ``sync_scope``, :meth:`Replica.settle` an answer of ``rows_scope``,
  both after :meth:`Replica.begin`, called when the question was sent; the stream goes on meanwhile.

What makes this safe:

- The stream has the order of commits, for every key. A snapshot taken after :meth:`Replica.begin` is never
  behind the stream as it was then. So of a key that the stream has not touched since, the snapshot is
  the truth; of one that it has, whichever is further.
- ``(created_at, version)`` orders the states of a key: a row made again under its old key begins at
  version 1, but later. Without ``created_at``, versions alone decide.
- An event whose ``changed_in`` lies below the cursor is in the last sync already and is ignored.
- What none of this decides is *in doubt*: a DELETE (it carries no version) of a row that a sync brought, a
  record with values withheld. Handlers are not told; the key is asked for (:attr:`Replica.doubts`), and
  what comes for it meanwhile waits.

Events dropped on the way are not seen here: the digest, kept with every change, shows them at the next sync.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import structs

from realtime_toolkit.errors import InputError
from realtime_toolkit.events import Event, Lost, RowChanged
from realtime_toolkit.exact import Unreadable, dumps, read_row
from realtime_toolkit.model import (
    Change,
    ChangeType,
    RowRef,
    Scope,
    SyncedRow,
    TrackedTable,
    canonical_key,
    hashes,
    key_hash,
)
from realtime_toolkit.replica.digests import DigestTree, Paging
from realtime_toolkit.replica.held import (
    Held,
    Origin,
    Tomb,
    ahead,
    another_row,
    born,
    filled,
    follows,
    newer,
    revives,
)
from realtime_toolkit.replica.journal import Journal, Question
from realtime_toolkit.replica.transcript import MESSAGES, Transcripts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from realtime_toolkit.events import Via
    from realtime_toolkit.model import Digest, Row, SyncPage
    from realtime_toolkit.replica.transcript import Transcript

_FORMAT = 2
_TOMBS = 10_000
"""How many rows that are gone are remembered, against events that come late."""


@dataclass(slots=True)
class Doubt:
    """A key whose state must be asked for, and of what the stream has said of it only what will be needed."""

    delete: Change | None = None
    """The last one: if the row turns out to be gone, this is how."""
    asked: bool = False
    """The question was sent after the doubt arose."""
    waiting: Change | None = None
    """The last change since the question: the answer may not know it."""
    deleted: bool = False
    """Before that, and since the question, the row was deleted: what waits does not tell it all."""

    @property
    def changes(self) -> list[Change]:
        """All that is kept, however many have come."""
        return [change for change in (self.delete, self.waiting) if change is not None]

    def hear(self, change: Change) -> None:
        if change.type is ChangeType.DELETE:
            self.delete = change
        if self.asked:
            self.deleted |= self.waiting is not None and self.waiting.type is ChangeType.DELETE
            self.waiting = change


class Replica:
    """The local copy. Not thread-safe; every method returns at once.

    ``tables`` are those of :func:`tracked_tables` for the scope's kind; a change of any other table is
    ignored.
    """

    def __init__(self, scope: Scope, tables: Iterable[TrackedTable] = ()) -> None:
        self.scope = scope
        self.tables = {table.name: table for table in tables}
        self.cursor: int | None = None
        """The transaction horizon of the last sync: what to ask for next."""
        self.epoch: str | None = None
        self.agrees = False
        """Whether the last completed sync ended with the digest of the database."""
        self.doubts: dict[RowRef, Doubt] = {}
        self._rows: dict[RowRef, Held] = {}
        self._tree = DigestTree(self._rows)
        self._texts = Transcripts()
        self._tombs: dict[RowRef, Tomb] = {}
        self._journals: list[Journal] = []
        self._question: Question | None = None
        self._paging: Paging | None = None
        self._passed: str | None = None

    def __repr__(self) -> str:
        return (
            f"<Replica of {self.scope}: {len(self)} rows of {len(self.tables)} tables, cursor {self.cursor}>"
        )

    # --- reading ------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, ref: RowRef) -> bool:
        return ref in self._rows

    def __iter__(self) -> Iterator[RowRef]:
        return iter(self._rows)

    @property
    def digest(self) -> Digest:
        return self._tree.total

    def held(self, ref: RowRef) -> Held | None:
        return self._rows.get(ref)

    def row(self, table: str, key: str) -> Row | None:
        """A copy of its own; ``None`` if it is not there, came without values, or cannot be read."""
        found = self._rows.get(RowRef(table, key))
        return found.row if found else None

    def rows(self, table: str) -> dict[str, Row]:
        """Canonical key → row, of one table (``schema.table``)."""
        return {
            ref.key: row
            for ref, held in self._rows.items()
            if ref.table == table and (row := held.row) is not None
        }

    def text(self, message_id: str) -> str:
        """What has come of a message's text, without holes; raises :class:`KeyError`."""
        return self._text_of(self._texts[message_id])

    def _text_of(self, found: Transcript) -> str:
        if found.text is not None:
            return found.text
        row = self.row(MESSAGES, canonical_key([found.message_id]))
        return str(row["content"] or "")[: found.length] if row else ""

    @property
    def has_holes(self) -> bool:
        return self._texts.have_holes

    def holes(self) -> dict[str, int]:
        """Message id → position of the first character that is missing though later ones have come."""
        return self._texts.holes()

    def children(self, prefixes: Sequence[str]) -> dict[str, Digest]:
        """As ``digest_scope`` answers: the non-empty children of each prefix, one hex digit longer."""
        return self._tree.children(prefixes)

    def under(self, prefix: str) -> Iterator[RowRef]:
        """Every key whose ``key_hash`` begins with ``prefix``."""
        return self._tree.under(prefix)

    # --- journals -----------------------------------------------------------------------------------

    def journal(self) -> Journal:
        """A record of what changes from here on, until it is given to :meth:`close`."""
        journal = Journal()
        self._journals.append(journal)
        return journal

    def close(self, journal: Journal) -> None:
        self._journals.remove(journal)

    # --- the stream ---------------------------------------------------------------------------------

    def apply(self, change: Change) -> list[Event]:
        """Take one change of the stream; returns what handlers are to be told."""
        if change.table not in self.tables:
            return []
        ref = RowRef(change.table, change.key)
        if self._question is not None:
            self._question.hear(ref, self._rows.get(ref))
        for journal in self._journals:
            journal.hear(ref, change, self._rows.get(ref))
        if self.doubts and (doubt := self.doubts.get(ref)):
            doubt.hear(change)
            return []
        return self._apply(ref, change)

    def _apply(self, ref: RowRef, change: Change) -> list[Event]:
        if change.type is ChangeType.DELETE:
            return self._apply_delete(ref, change)
        if change.version is None or change.changed_in is None:
            return self._doubt(ref, change)
        if self.cursor is not None and change.changed_in < self.cursor:
            return []
        held = self._rows.get(ref)
        is_news = newer(change, held) if held else revives(change, self._tombs.get(ref))
        if is_news is None:
            return self._doubt(ref, change)
        if not is_news:
            return []
        whole = filled(change, held)
        if whole is None:
            return self._doubt(ref, change)
        self._pass(change, held)
        place, share = hashes(ref.table, ref.key, change.version, change.changed_in)
        body, origin = dumps(whole.row), Origin.STREAM
        made = Held(change.version, change.changed_in, share, body, origin, change.committed_at)
        return self._put(ref, place, made, whole, "live")

    def _apply_delete(self, ref: RowRef, change: Change) -> list[Event]:
        held = self._rows.get(ref)
        if held is None:
            if ref not in self._tombs:
                self._bury(ref, Tomb(0, None, change.committed_at, deleted=True))
            self._note(ref, None, None, "live")
            return []
        if held.origin is Origin.STREAM:
            certain = follows(change, held.committed_at)
        elif held.origin is Origin.SYNC and self._passed is not None:
            certain = follows(change, self._passed) or None
        else:
            certain = None
        if certain is None:
            return self._doubt(ref, change)
        return self._remove(ref, change, "live", deleted=True) if certain else []

    def _pass(self, change: Change, held: Held | None) -> None:
        """A later version of a row that the last sync has seen: the stream is past that sync's snapshot."""
        if held is None or held.origin is not Origin.SYNC or not self.agrees or self._paging is not None:
            return
        if self._passed is None and held.born is not None and held.born == born(change.row):
            self._passed = change.committed_at

    def _doubt(self, ref: RowRef, change: Change | None) -> list[Event]:
        self.doubts[ref] = Doubt(change if change and change.type is ChangeType.DELETE else None)
        return []

    def doubt(self, ref: RowRef) -> None:
        """Whatever is held under this key is to be asked for again."""
        if ref not in self.doubts and ref.table in self.tables:
            self._doubt(ref, None)

    def confirm(self, cursor: int) -> None:
        """The copy has had all that a snapshot with this horizon shows: the next sync need not begin before it."""
        if self.cursor is not None and self._paging is None:
            self.cursor = max(self.cursor, cursor)

    # --- answers ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A question is being sent. One at a time: a question without an answer is forgotten."""
        self._question = Question()
        for doubt in self.doubts.values():
            doubt.asked, doubt.waiting, doubt.deleted = True, None, False

    def begin_sync(self) -> None:
        """The first page of a sync is being asked for; the pages share one beginning."""
        self.begin()
        self._paging = Paging(self._tree.total)
        self.agrees = False

    def merge(self, page: SyncPage) -> list[Event]:
        """Take a page. After the last one (``more`` is false) :attr:`agrees` says whether the digest fits.

        Raises :class:`RuntimeError` without :meth:`begin_sync`.
        """
        paging = self._paging
        if paging is None:
            raise RuntimeError("merge() without begin_sync()")
        if page.full:
            paging.restart(strangers=self.epoch is not None and page.epoch != self.epoch)
        self._passed = None
        events: list[Event] = []
        for synced in page.rows:
            events += self._merge_row(paging, synced)
        if not page.more:
            events += self._end_sync(paging, page)
        return events

    def _merge_row(self, paging: Paging, synced: SyncedRow) -> list[Event]:
        taken = ref, _, made, _ = self._taken(synced, Origin.SYNC)
        touched = self._question.before if self._question else {}
        paging.count(ref, made, touched[ref] if ref in touched else self._rows.get(ref))
        if ref in self.doubts or ref.table not in self.tables:
            return []
        return self._adopt(*taken, strangers=paging.strangers)

    def _end_sync(self, paging: Paging, page: SyncPage) -> list[Event]:
        events: list[Event] = []
        if paging.full:
            touched = self._question.before if self._question else {}
            for ref in [ref for ref in self._rows if ref not in paging.seen and ref not in touched]:
                self.doubts.pop(ref, None)
                events += self._remove(ref, None, "sync")
        self.agrees = paging.digest == page.digest
        # Not before: a series of pages that is cut off has no horizon.
        self.cursor, self.epoch = page.cursor, page.epoch
        self._paging = self._question = None
        return events

    def settle(
        self, prefixes: Sequence[str], rows: Iterable[SyncedRow], asked: Iterable[RowRef] | None = None
    ) -> list[Event]:
        """Take the answer to "all rows under these ``key_hash`` prefixes": exactly these are visible.

        ``asked`` are the keys that lie under them, where the caller knows them.
        """
        found = {RowRef(each.table, each.key): each for each in rows if each.table in self.tables}
        if asked is None:
            asked = {ref for prefix in prefixes for ref in self._tree.under(prefix)}
            asked |= _under(self.doubts, prefixes)
        events: list[Event] = []
        for ref in [*found, *(ref for ref in asked if ref not in found)]:
            events += self._settle_row(ref, found.get(ref))
        self._question = None
        return events

    def _settle_row(self, ref: RowRef, synced: SyncedRow | None) -> list[Event]:
        if doubt := self.doubts.get(ref):
            return self._resolve(ref, doubt, synced) if doubt.asked else []
        if synced is not None:
            return self._adopt(*self._taken(synced, Origin.FETCH))
        touched = self._question is not None and ref in self._question.before
        return [] if touched else self._remove(ref, None, "sync")

    def _resolve(self, ref: RowRef, doubt: Doubt, synced: SyncedRow | None) -> list[Event]:
        del self.doubts[ref]
        if synced is not None:
            events = self._adopt(*self._taken(synced, Origin.FETCH), alone=True)
        else:
            events = self._remove(ref, doubt.delete, "live" if doubt.delete else "sync")
        if doubt.deleted:
            self.doubts[ref] = Doubt(doubt.delete)
        elif doubt.waiting is not None:
            events += self._apply(ref, doubt.waiting)
        return events

    def _taken(self, synced: SyncedRow, origin: Origin) -> tuple[RowRef, bytes, Held, str | None]:
        """With the place of its key in the digest (where its share is another), and what is wrong with it.

        Rows share the name of their table.
        """
        table = self.tables.get(synced.table)
        ref = RowRef(table.name if table else synced.table, synced.key)
        held = self._rows.get(ref)
        if held is not None and held.state == (synced.version, synced.changed_in):
            place, share = b"", held.share  # nothing to be hashed anew
        else:
            place, share = hashes(ref.table, ref.key, synced.version, synced.changed_in)
        body = dumps(synced.body) if isinstance(synced.body, dict) else synced.body
        error = synced.error and f"the database cannot show the row: {synced.error}"
        return ref, place, Held(synced.version, synced.changed_in, share, body, origin), error

    def _adopt(
        self,
        ref: RowRef,
        place: bytes,
        made: Held,
        error: str | None,
        *,
        strangers: bool = False,
        alone: bool = False,
    ) -> list[Event]:
        """Take a row as a snapshot shows it, held against what the stream said of it since the question.

        ``alone``: the stream has been kept waiting for this answer, so there is nothing to hold it against.
        """
        held, question = self._rows.get(ref), self._question
        if question is not None and not alone and ref in question.before:
            further = ahead(made, held, question.states(ref, held), ref in question.deleted)
            if further is None:
                return self._doubt(ref, None)
            if not further:
                return []
        if held is not None and held.state == made.state and not (strangers and held.row != made.row):
            if held.body is None:
                self._rows[ref] = structs.replace(made, origin=held.origin)
            return []
        row = None
        try:
            row = None if made.body is None else read_row(made.body)
        except Unreadable as flaw:
            error = f"the row {flaw}"
        kind = ChangeType.UPDATE if held else ChangeType.INSERT
        change = Change(ref.table, kind, ref.key, made.version, made.changed_in, row)
        return self._put(ref, place, made, change, "sync", error)

    # --- every change of the copy goes through here ---------------------------------------------------

    def _put(
        self, ref: RowRef, place: bytes, made: Held, change: Change, via: Via, error: str | None = None
    ) -> list[Event]:
        before = self._rows.get(ref)
        self._rows[ref] = made
        self._tree.put(ref, place, made.share, before.share if before else None)
        self._note(ref, before, made, via)
        events: list[Event] = []
        if before is not None and ref.table == MESSAGES and another_row(before, made):
            events += self._texts.drop(ref.table, ref.key)
        if error is not None:
            return [*events, *self._texts.drop(ref.table, ref.key), Lost((ref,), error)]
        # Text first: who sees a message completed has all of its text.
        events += self._texts.take(ref.table, change.row, ref.key)
        events.append(RowChanged(change, via))
        return events

    def _remove(self, ref: RowRef, change: Change | None, via: Via, *, deleted: bool = False) -> list[Event]:
        before = self._rows.pop(ref, None)
        if before is None:
            return []
        self._tree.remove(ref, before.share)
        events = self._texts.drop(ref.table, ref.key)
        committed_at = change.committed_at if change else None
        self._bury(ref, Tomb(before.version, before.born, committed_at, deleted))
        self._note(ref, before, None, via)
        return [*events, RowChanged(change or Change(ref.table, ChangeType.DELETE, ref.key), via)]

    def _note(self, ref: RowRef, before: Held | None, after: Held | None, via: Via) -> None:
        if via == "live" and self._question is not None:  # what answers do is no news to the question
            self._question.note(ref, before, after)
        for journal in self._journals:
            journal.note(ref, before, after)

    def _bury(self, ref: RowRef, tomb: Tomb) -> None:
        if len(self._tombs) >= _TOMBS:
            del self._tombs[next(iter(self._tombs))]
        self._tombs.pop(ref, None)
        self._tombs[ref] = tomb

    # --- storing ------------------------------------------------------------------------------------

    def dump(self, *, values: bool = True) -> dict[str, Any]:
        """A JSON-able cursor to come back with (:meth:`load`), with the rows themselves unless told not to."""
        rows = [
            # The row as text: no JSON encoder of another's would keep its numbers.
            [
                ref.table,
                ref.key,
                held.version,
                held.changed_in,
                held.body.decode() if values and held.body else None,
            ]
            for ref, held in self._rows.items()
        ]
        tables = [
            [
                *(
                    table.schema,
                    table.table,
                    table.scope_column,
                    list(table.key_columns),
                    list(table.columns),
                ),
                *(sorted(table.altered), sorted(table.nulled)),
            ]
            for table in self.tables.values()
        ]
        return {
            "format": _FORMAT,
            "scope": str(self.scope),
            "epoch": self.epoch,
            "cursor": None if self.cursor is None else str(self.cursor),
            "tables": tables,
            "rows": rows,
            "texts": self._texts.dump(lambda found: None if values else self._text_of(found)),
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> Replica:
        """The replica that :meth:`dump` stored; raises :class:`InputError` for anything else."""
        try:
            return cls._load(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not a stored cursor: {error!r}") from None

    @classmethod
    def _load(cls, data: dict[str, Any]) -> Replica:
        if data["format"] != _FORMAT:
            raise InputError(f"a stored cursor of format {data['format']!r}; this version reads {_FORMAT}")
        kind, _, value = data["scope"].partition(":")
        tables = [
            TrackedTable(s, t, scope, tuple(key), tuple(columns), frozenset(altered), frozenset(nulled))
            for s, t, scope, key, columns, altered, nulled in data["tables"]
        ]
        made = cls(Scope(kind, value), tables)
        made.epoch = data["epoch"]
        made.cursor = None if data["cursor"] is None else int(data["cursor"])
        for table, key, version, changed_in, text in data["rows"]:
            body = None if text is None else text.encode()
            ref, place, held, _ = made._taken(SyncedRow(table, key, version, changed_in, body), Origin.SYNC)
            made._rows[ref] = held
            made._tree.put(ref, place, held.share, None)
        made._texts = Transcripts.load(data["texts"])
        return made


def _under(refs: Iterable[RowRef], prefixes: Sequence[str]) -> set[RowRef]:
    wanted, lengths = set(prefixes), {len(prefix) for prefix in prefixes}
    places = ((ref, key_hash(ref.table, ref.key)) for ref in refs)
    return {ref for ref, place in places if any(place[:length] in wanted for length in lengths)}
