"""Text from outside that is shown: nothing in it is acted on, and no two texts become one."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.migrate.sqlsplit import printable, split
from realtime_toolkit.shown import ACTED_ON, shown, shown_json, shown_lines, shown_once, without_secrets
from realtime_toolkit.verify import Finding, Level
from realtime_toolkit.verify.names import mentioned, parts, plain

ODD = re.compile(f"[{ACTED_ON}]")
TEXTS = st.text(
    st.one_of(st.sampled_from("ab\\nrtxuU\n\r\t\x1b\x9b\u202e\ud800\U000e0001 0\"'"), st.characters()),
    max_size=12,
)


def test_every_character_that_is_acted_on_is_spelled_out() -> None:
    acted_on = {
        chr(point)
        for point in range(0x110000)
        if unicodedata.category(chr(point)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
    assert not {char for char in acted_on if not ODD.match(char)}
    letters = {chr(point) for point in range(0x110000) if unicodedata.category(chr(point))[0] in "LNPS"}
    assert not {char for char in letters if ODD.match(char)}


@given(TEXTS, TEXTS)
def test_two_texts_are_never_shown_alike(one: str, other: str) -> None:
    assert not ODD.search(shown(one))
    assert (shown(one) == shown(other)) == (one == other)


@given(TEXTS)
def test_shown_reads_back(text: str) -> None:
    back = re.sub(r"\\(\\|n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", _meant, shown(text))
    assert back == text
    assert shown_once(shown(text)) == shown(text)
    assert shown_once(text) in (text, shown(text))


def _meant(match: re.Match[str]) -> str:
    return {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}.get(match[1]) or chr(int(match[1][1:], 16))


def test_lines_and_tabs_of_a_text_stay() -> None:
    assert shown_lines("a\tb\r\n\x1bc\n") == "a\tb\n\\x1bc\n"


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=5))
def test_json_says_the_same(value: object) -> None:
    text = shown_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(text) == value
    assert not ODD.search(text.replace("\n", ""))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("cannot use postgresql://u:pa:s@s/w@h:5/d, alas", "cannot use postgresql://u:…@h:5/d, alas"),
        ("see https://h/p?a=b", "see https://h/p?a=b"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
    ],
)
def test_an_address_without_its_password(text: str, left: str) -> None:
    assert without_secrets(text) == left


# -- SQL --------------------------------------------------------------------------------------------------


def test_sql_with_odd_names_stays_sql_on_one_line() -> None:
    assert (
        printable('drop table "a\nb\\"; -- x\n; drop table y')
        == r'drop table U&"a\000ab\\"; -- x\n; drop table y'
    )
    assert printable("select E'a\\\\\u202e', 'x\U000e0001'") == r"select E'a\\\U0000202e', U&'x\+0e0001'"
    assert printable("select\n  1\t+ 2") == "select\n  1 + 2"


@given(TEXTS.filter(lambda text: "\0" not in text), TEXTS.filter(lambda text: text and "\0" not in text))
def test_no_name_becomes_a_statement(text: str, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    literal = "'" + text.replace("'", "''") + "'"
    made = printable(
        f"alter table {quoted} alter {quoted} set default {literal}; -- see {quoted} and {literal}"
    )
    assert not ODD.search(made)
    assert [bool(statement.words) for statement in split(made)] == [True, False]


# -- findings ---------------------------------------------------------------------------------------------


def test_a_finding_is_printable_and_its_fingerprint_survives_an_editor() -> None:
    found = Finding.of(
        "X001", Level.ERROR, 'public."a\nb"', "the\x1b", 'drop table public."a\nb";', "X001 public a "
    )
    assert (found.object, found.detail, found.fingerprint) == (
        r'public."a\nb"',
        r"the\x1b",
        r"X001 public a\x20",
    )
    assert found.fix == r'drop table public.U&"a\000ab";'
    other = Finding.of("X001", Level.ERROR, r'public."a\nb"', "", "", "X001 public a")
    assert (other.object, other.fingerprint) == (r'public."a\\nb"', "X001 public a")


# -- names ------------------------------------------------------------------------------------------------


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=3))
def test_quoted_names_are_read_back(names: list[str]) -> None:
    assert parts(".".join('"' + name.replace('"', '""') + '"' for name in names)) == tuple(names)
    assert plain("notes") == "notes"


@pytest.mark.parametrize(
    ("name", "text", "there"),
    [
        ("flag", "(flag = true)", True),
        ("flag", "(flags = true)", False),
        ("c++", '("c++" = 1)', True),
        ("c+", '("c++" = 1)', False),
        ('a"b', '("a""b" = 1)', True),
        (".*", "(anything)", False),
    ],
)
def test_a_name_is_mentioned(name: str, text: str, there: bool) -> None:
    assert mentioned(name, text) is there
