"""Answers of the database with a row in them that no fast reader takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from realtime_toolkit.exact import Unreadable, dumps
from realtime_toolkit.store.pages import Answer, Page, Part
from realtime_toolkit.store.statements import _sync_page

DEEP = "[" * 5000 + "]" * 5000


def page(*rows: str) -> bytes:
    items = ", ".join(
        f'{{"table": "public.t", "key": "[{n}]", "version": {n}, "changed_in": "7", "row": {row}}}'
        for n, row in enumerate(rows)
    )
    return f"""{{"epoch": "e", "cursor": "9", "full": true, "more": false, "after": null,
        "digest": {{"count": {len(rows)}, "total": "5"}}, "rows": [{items}]}}""".encode()


@pytest.mark.parametrize("odd", [DEEP, f'{{"a": {DEEP}}}', '"\\ud800"', "9" * 5000, "[]"])
def test_one_row_spoils_no_other(odd: str) -> None:
    found = _sync_page(Answer(Page)(page('{"id": 1}', odd, '{"id": 1.50}')))
    assert [(row.key, row.version, row.changed_in) for row in found.rows] == [
        ("[0]", 0, 7),
        ("[1]", 1, 7),
        ("[2]", 2, 7),
    ]
    assert [row.row for row in (found.rows[0], found.rows[2])] == [{"id": 1}, {"id": 1.5}]
    assert (found.cursor, found.full, found.digest and found.digest.total) == (9, True, 5)
    with pytest.raises(Unreadable):
        assert found.rows[1].row


def test_a_row_is_kept_as_it_was_sent() -> None:
    row: Any = {"a": "x\ud800", "b": [None, 10**100]}
    found = _sync_page(Answer(Page)(page(dumps(row).decode(), "null")))
    assert (found.rows[0].row, found.rows[1].row) == (row, None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        page("{")[:-5],
        page(DEEP).replace(b'"rows": [', b'"rows": 5, "x": ['),
    ],
)
def test_what_is_no_answer_is_refused(text: bytes) -> None:
    for shape in (Page, Part):
        with pytest.raises(ValueError, match=r".+"):
            Answer(shape)(text)


def test_a_part_names_what_is_left() -> None:
    part = Answer(Part)(json.dumps({"cursor": "5", "rows": [], "left": ["a"]}).encode())
    assert (part.cursor, part.rows, part.left) == ("5", [], ["a"])
