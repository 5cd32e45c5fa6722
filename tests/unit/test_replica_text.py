"""The text of streamed messages: every character once and in order, however the rows come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.events import Lost, TextAppended, TextReset
from realtime_toolkit.model import Change, ChangeType, Digest, Scope, SyncedRow, SyncPage, TrackedTable
from realtime_toolkit.replica.replica import Replica
from realtime_toolkit.replica.transcript import CHUNKS, MESSAGES, Transcripts

if TYPE_CHECKING:
    from realtime_toolkit.events import Event
    from realtime_toolkit.model import Row


class Reader:
    """Puts the text together from events alone, and holds them to their word."""

    def __init__(self) -> None:
        self.text = ""
        self.resets = 0

    def __call__(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case TextAppended(_, _, position, text):
                    assert position == len(self.text)
                    assert text
                    self.text += text
                case TextReset():
                    assert self.text
                    self.text = ""
                    self.resets += 1


def chunk(position: int, body: str, *, attempt: int = 1) -> tuple[str, Row]:
    return CHUNKS, {"message_id": "m", "attempt": attempt, "seq": 0, "position": position, "body": body}


def message(status: str, content: str, *, attempt: int = 1) -> tuple[str, Row]:
    return MESSAGES, {"id": "m", "attempt": attempt, "status": status, "content": content}


def read(*rows: tuple[str, Row]) -> Reader:
    reader, transcripts = Reader(), Transcripts()
    for table, row in rows:
        reader(transcripts.take(table, row))
    return reader


def cut(text: str, sizes: list[int]) -> list[tuple[str, Row]]:
    chunks, at = [], 0
    for size in sizes:
        if at < len(text):
            chunks.append(chunk(at, text[at : at + size]))
            at += size
    return [*chunks, chunk(at, text[at:])] if at < len(text) else chunks


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
SIZES = st.lists(st.integers(1, 7), max_size=20)


@given(TEXT, SIZES, st.data())
def test_chunks_in_any_order_and_more_than_once(text: str, sizes: list[int], data: st.DataObject) -> None:
    chunks = cut(text, sizes)
    again = data.draw(st.lists(st.sampled_from(chunks)))
    assert read(*data.draw(st.permutations(chunks + again))).text == text


@given(TEXT, SIZES, st.data())
def test_checkpoints_and_the_final_content_fill_what_chunks_left_out(
    text: str, sizes: list[int], data: st.DataObject
) -> None:
    chunks = cut(text, sizes)
    ends = [row["position"] + len(row["body"]) for _, row in chunks]
    checkpoints = [message("streaming", text[:end]) for end in data.draw(st.lists(st.sampled_from(ends)))]
    kept = data.draw(st.lists(st.sampled_from(chunks)))
    rows = [*data.draw(st.permutations(checkpoints + kept)), message("completed", text)]
    late = data.draw(st.lists(st.sampled_from(chunks + checkpoints)))
    reader = read(*rows, *late)
    assert reader.text == text
    assert reader.resets == 0


def test_a_new_attempt_begins_again() -> None:
    reader = read(chunk(0, "first"), chunk(0, "second", attempt=2), chunk(5, " late"))
    assert reader.text == "second"
    assert reader.resets == 1


def test_the_row_announces_a_new_attempt_with_the_old_text_still_in_it() -> None:
    reader = read(chunk(0, "first"), message("pending", "first", attempt=2), chunk(0, "se", attempt=2))
    assert reader.text == "se"
    assert reader.resets == 1


def test_an_edited_message_is_read_anew() -> None:
    reader = read(message("completed", "hello"), message("completed", "help"))
    assert reader.text == "help"
    assert reader.resets == 1


def test_a_message_that_is_deleted_takes_its_text_along() -> None:
    reader, transcripts = Reader(), Transcripts()
    for table, row in (chunk(0, "gone"), chunk(9, "later")):
        reader(transcripts.take(table, row))
    assert transcripts.holes() == {"m": 4}
    reader(transcripts.drop(MESSAGES, '["m"]'))
    assert reader.text == ""
    assert transcripts.holes() == {}


def test_a_hole_is_known_until_it_is_filled() -> None:
    transcripts = Transcripts()
    transcripts.take(*chunk(0, "ab"))
    transcripts.take(*chunk(4, "ef"))
    assert transcripts.holes() == {"m": 2}
    transcripts.take(*chunk(2, "cd"))
    assert transcripts.holes() == {}
    assert transcripts["m"].text == "abcdef"


def test_a_stored_transcript_goes_on_where_it_was() -> None:
    reader, transcripts = Reader(), Transcripts()
    for row in (chunk(0, "ab"), chunk(4, "ef")):
        reader(transcripts.take(*row))
    back = Transcripts.load(json.loads(json.dumps(transcripts.dump(lambda _: None))))
    assert back.holes() == {"m": 2}
    reader(back.take(*chunk(2, "cd")))
    assert reader.text == "abcdef"


def test_tables_of_these_names_that_are_no_chat_are_left_alone() -> None:
    rows: list[tuple[str, Any]] = [
        (MESSAGES, {"id": 1, "subject": "hi"}),
        (CHUNKS, {"part": 1}),
        (MESSAGES, None),
        (MESSAGES, {"id": 1, "attempt": 1, "status": "sent", "content": {"blocks": []}}),
        (MESSAGES, {"id": 1, "attempt": None, "status": 5, "content": "x"}),
        (CHUNKS, {"message_id": [1], "attempt": 1, "position": "0", "body": "x"}),
    ]
    assert read(*rows).text == ""


def chat() -> Replica:
    columns = ("id", "conversation_id", "attempt", "status", "content", "created_at", "version", "changed_in")
    table = TrackedTable("public", "messages", "conversation_id", ("id",), columns)
    return Replica(Scope("conversation", "c"), [table])


def changed(version: int, status: str, content: str) -> Change:
    _, row = message(status, content)
    return Change(MESSAGES, ChangeType.UPDATE, '["m"]', version, 5 + version, row, str(version))


def test_the_replica_gives_the_text_of_its_messages() -> None:
    replica = chat()
    events = replica.apply(changed(1, "completed", "all of it"))
    assert [type(event).__name__ for event in events] == ["TextAppended", "RowChanged"], "text comes first"
    assert replica.text("m") == "all of it"


@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(
    ("content", "resets"), [("all of it", 0), ("all of it, and more", 0), ("alter", 1), ("", 1)]
)
def test_the_text_of_a_complete_message_is_its_row_s(
    values: bool, stored: bool, content: str, resets: int
) -> None:
    reader, replica = Reader(), chat()
    reader(replica.apply(changed(1, "streaming", "all")))
    reader(replica.apply(changed(2, "completed", "all of it")))
    assert replica._texts["m"].text is None, "it is not kept twice"
    if stored:
        replica = Replica.load(json.loads(json.dumps(replica.dump(values=values))))
        assert replica.text("m") == "all of it"
    reader(replica.apply(changed(3, "completed", content)))
    assert replica.text("m") == reader.text == content
    assert reader.resets == resets


def test_the_text_of_a_message_that_cannot_be_read_any_more_is_taken_back() -> None:
    reader, replica = Reader(), chat()
    reader(replica.apply(changed(1, "completed", "all of it")))
    replica.begin_sync()
    page = SyncPage("e", 5, True, False, Digest(), (SyncedRow(MESSAGES, '["m"]', 2, 9, b"[]"),))
    events = replica.merge(page)
    reader(events)
    assert reader.text == ""
    assert any(isinstance(event, Lost) for event in events)
    reader(replica.apply(changed(3, "completed", "all of it")))
    assert replica.text("m") == reader.text == "all of it"
