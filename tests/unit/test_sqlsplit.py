"""The splitter and Postgres' lexical rules; what the Supabase CLI stores: test_migrate_interop."""

from __future__ import annotations

import tracemalloc
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realtime_toolkit.migrate import sqlsplit
from realtime_toolkit.migrate.sqlsplit import Statement, same_meaning, significant, split, without_word

CASES = {
    "dollar quotes": ("do $$ begin; end $$; select 1", ["do $$ begin; end $$", "select 1"]),
    "a tag within another": ("do $a$ $$;$$ $b$ $a$; x", ["do $a$ $$;$$ $b$ $a$", "x"]),
    "a dollar in a name": ("select a$b$ from t; select c$b$", ["select a$b$ from t", "select c$b$"]),
    "a parameter": ("prepare p as select $1+$2; x", ["prepare p as select $1+$2", "x"]),
    "a doubled quote": ("select 'a;''b;'; x", ["select 'a;''b;'", "x"]),
    "a plain backslash": (r"select 'a\'; x", [r"select 'a\'", "x"]),
    "an escape string": (r"select E'a\';b'; x", [r"select E'a\';b'", "x"]),
    "an escape string after a word": (r"select some'a\'; x", [r"select some'a\'", "x"]),
    "a continued escape string": ("select E'a'\n'b\\';'; x", ["select E'a'\n'b\\';'", "x"]),
    "continued past a comment": ("select E'a' -- c\n'b\\';'; x", ["select E'a' -- c\n'b\\';'", "x"]),
    "not continued": ("select E'a' 'b\\'; x", ["select E'a' 'b\\'", "x"]),
    "a quoted name": ('select "a;""b;"; x', ['select "a;""b;"', "x"]),
    "a unicode string": (r"select U&'\0061\'; x", [r"select U&'\0061\'", "x"]),
    "nested comments": ("/* ; /* ; */ ; */ a; b", ["/* ; /* ; */ ; */ a", "b"]),
    "a comment in an operator": ("select 1 +--;\n 2; x", ["select 1 +--;\n 2", "x"]),
    "a comment ended by a carriage return": ("a -- ;\r; b", ["a -- ;", "b"]),
    "comments go with what follows": ("a; -- of b\nb; -- last", ["a", "-- of b\nb", "-- last"]),
    "a rule's parentheses": ("create rule r as on insert to t do (a; (b); c); x", None),
    "no statements": (" \n;; ;\t", []),
    "an empty file": ("", []),
    "no last semicolon": ("a;b", ["a", "b"]),
    "a semicolon too many": ("a;; b", ["a", "b"]),
    "space as the CLI trims it": ("\u00a0a\u2003;\ufeffb", ["a", "b"]),
    "an unclosed string": ("a; 'b; c", ["a", "'b; c"]),
    "an unclosed dollar quote": ("a; $x$b; c", ["a", "$x$b; c"]),
    "an unclosed comment": ("a; /* b; c", ["a", "/* b; c"]),
    "a tag of its own": ("do $a_1$ ; $$ $a_1$; x", ["do $a_1$ ; $$ $a_1$", "x"]),
    "parentheses in parentheses": ("select ((((((((((1;))))))))); x", ["select ((((((((((1;))))))))); x"]),
    "strings that take backslashes": (
        r"set standard_conforming_strings = off; select 'a\';b'; "
        r"set standard_conforming_strings to on; 'a\'; c",
        [
            "set standard_conforming_strings = off",
            r"select 'a\';b'",
            "set standard_conforming_strings to on",
            r"'a\'",
            "c",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_lexical_rules(name: str) -> None:
    sql, wanted = CASES[name]
    texts = [statement.text for statement in split(sql)]
    assert texts == (wanted if wanted is not None else [sql.removesuffix("; x"), "x"])


ATOMIC = {
    "one body": "create function f() returns int language sql begin atomic select 1; select 2; end",
    "case in it": "create function f() returns int begin atomic select case when a then 1 end; select 2; end",
    "nested case": "create procedure f() begin atomic select case when case a when b end then 1 end; end",
    "or replace": "create or replace procedure f() BEGIN ATOMIC insert into t values (1); END",
    "a comment between": "create function f() returns int begin /* ; */ atomic select 1; end",
    "words that contain end": "create function f() returns int begin atomic select weekend from endings; end",
    "end in a string": "create function f() returns text begin atomic select 'end;'; select \"end\"; end",
}


@pytest.mark.parametrize("name", ATOMIC)
def test_a_body_of_begin_atomic_is_one_statement(name: str) -> None:
    assert [s.text for s in split(f"{ATOMIC[name]}; select 3;")] == [ATOMIC[name], "select 3"]


def test_begin_and_atomic_elsewhere_open_nothing() -> None:
    sql = "begin; select 1 as begin, 2 atomic; create table begin_atomic(atomic int); end; x"
    assert len(split(sql)) == 5


def test_where_a_statement_stands() -> None:
    first, second, last = split("\n-- of a\na\n;  /* x\n*/ create TABLE b; -- end")
    assert (first.text, first.line, first.code, first.words) == ("-- of a\na", 3, "a", ("a",))
    assert (second.line, second.code, second.words) == (5, "create TABLE b", ("create", "table", "b"))
    assert (last.line, last.code, last.words) == (5, "", ())


# -- what psql would make of it -------------------------------------------------------------------------

COPY = "copy t (a, b) from stdin with (format csv);"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_rows_belong_to_their_copy(newline: str) -> None:
    rows = f"1;'x{newline}\\.2{newline}"
    first, copy, last = split(f"a;{newline}{COPY}{newline}{rows}\\.{newline}-- b{newline}b;")
    assert (first.text, last.text, last.code, last.line) == ("a", f"-- b{newline}b", "b", 7)
    assert (copy.sql, copy.line, copy.code) == (COPY, 2, COPY)
    assert copy.data is not None
    assert copy.text[copy.data :] == f"{newline}{rows}\\."


@pytest.mark.parametrize(
    ("sql", "texts"),
    [
        ("copy t from stdin;\n\\.\nx", ["copy t from stdin;\n\\.", "x"]),
        ("copy t from stdin;\n1;2\nx", ["copy t from stdin;\n1;2\nx"]),
        ("copy (select * from stdin) to stdout; x", ["copy (select * from stdin) to stdout", "x"]),
        ("select 1 from stdin; x", ["select 1 from stdin", "x"]),
        ("copy t from 'stdin'; x", ["copy t from 'stdin'", "x"]),
        (
            "/* x */ copy t FROM /* y */ STDIN; -- z\n1\n\\.\n",
            ["/* x */ copy t FROM /* y */ STDIN; -- z\n1\n\\."],
        ),
    ],
)
def test_where_rows_end(sql: str, texts: list[str]) -> None:
    assert [statement.text for statement in split(sql)] == texts


def test_a_psql_command_stands_before_its_statement() -> None:
    first, last = split("\\restrict it's;\n-- c\nset a = 1;\n\\unrestrict x\n")
    assert (first.commands, first.code, first.line) == (["restrict it's;"], "set a = 1", 3)
    assert first.sql == " " * 15 + "\n-- c\nset a = 1"
    assert (last.commands, last.code, last.sql.strip()) == (["unrestrict x"], "", "")


# -- properties ---------------------------------------------------------------------------------------

inside = st.text(st.sampled_from("ab;'\"$\\-/*()\n\u00e9 "), max_size=12)
words = st.sampled_from(
    ["select", "a", "E", "begin", "end", "x$y$", "atomic", "1", "1.5e3", "+", "->>", "$1", "é"]
)


def dollars(text: str, tag: str) -> str:
    return f"${tag}${text}${tag}$"


def escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


strings = st.one_of(
    inside.map(lambda text: "'" + text.replace("'", "''") + "'"),
    inside.map(escaped),
    inside.map(lambda text: '"' + text.replace('"', '""') + 'x"'),
    st.tuples(inside, st.sampled_from(["", "t", "é1"]))
    .filter(lambda pair: f"${pair[1]}$" not in f"{pair[0]}${pair[1]}"[:-1])
    .filter(lambda pair: f"${pair[1]}$" not in pair[0] and not pair[0].endswith("$"))
    .map(lambda pair: dollars(*pair)),
)
comments = st.one_of(
    st.text(st.sampled_from("ab;'\"$ */"), max_size=8).map(lambda text: f"--{text}\n"),
    st.text(st.sampled_from("ab;'\"$-\n "), max_size=8).map(lambda text: f"/*{text}/*;*/*/"),
)
fragments = st.one_of(words, strings, comments, inside.map(lambda _: "( a ; b )"))
# With commas, because two strings with only a newline between are one, of the first one's kind.
statements = st.lists(fragments, min_size=1, max_size=6).map(" , ".join)


@given(st.lists(statements, max_size=6), st.sampled_from([";", ";\n", " ;\r\n\t", ";;"]))
def test_what_was_joined_comes_apart_again(parts: list[str], semicolon: str) -> None:
    assert [s.text for s in split("".join(part + semicolon for part in parts))] == [p.strip() for p in parts]


anything = st.text(st.sampled_from("aE;'\"$\\-/*()\n\r\t é0.be"), max_size=40)


@given(anything)
def test_nothing_is_lost_whatever_the_text(sql: str) -> None:
    rest, end = "", 0
    for statement in split(sql):
        assert sql[statement.offset : statement.offset + len(statement.text)] == statement.text
        assert sql.count("\n", 0, statement.offset + statement.lead) + 1 >= statement.line
        rest += sql[end : statement.offset]
        end = statement.offset + len(statement.text)
    assert set(rest + sql[end:]) <= set("; \t\r\n")


def slowly(sql: str) -> tuple[Statement, ...]:
    """Token by token throughout."""
    with patch.object(sqlsplit, "_end", lambda *_: None):
        return split(sql)


PIECES = [
    "a",
    "E",
    "é",
    "'",
    "''",
    "\\",
    "\\'",
    "$",
    "$$",
    "$a$",
    "1",
    "-",
    "--",
    "/",
    "/*",
    "*/",
    "*",
    "\n",
    "\r",
    " ",
    "(",
    ")",
    ";",
    '"',
    "begin",
    "atomic",
    "create function f()",
    "end",
    "case",
    "U&'",
    "x$y$",
    "$1",
    "E'a\\'b'",
    "copy t from stdin;",
    "\n\\.\n",
]


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join))
@example("$$ x $$E'a\\'b'; e';")
@example("((((((((1))))))); a")
@example("select E'a' --\n'\\';'; x")
def test_the_quick_way_is_the_slow_one(sql: str) -> None:
    assert split(sql) == slowly(sql)


@given(anything)
def test_splitting_what_was_split_changes_nothing(sql: str) -> None:
    for statement in split(sql):
        if statement.words and ";" not in statement.text:
            assert [s.text for s in split(statement.text + "\n;")] == [statement.text]


# Two strings in a row are one if a newline stands between: there layout does have a meaning.
apart = st.lists(st.tuples(words, strings), min_size=1, max_size=3).map(
    lambda pairs: [x for p in pairs for x in p]
)


@given(apart, st.lists(comments, min_size=6, max_size=6))
def test_layout_and_comments_have_no_meaning(parts: list[str], between: list[str]) -> None:
    plain = " ".join(parts)
    spread = "".join(f"\n{part}\t{comment}" for part, comment in zip(parts, between, strict=False))
    assert significant(spread) == significant(plain)
    assert same_meaning([plain], [spread])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT  Id FROM T", "select id\nfrom t -- x", True),
        ('select "Id"', "select id", False),
        ("select 'A'", "select 'a'", False),
        ("select 'a  b'", "select 'a b'", False),
        ("select a < -1", "select a <- 1", False),
        ("select 1 e5", "select 1e5", False),
        ("do $$\r\nx\r\n$$", "do $$\nx\n$$", True),
        ("do $$ x $$", "do $$ y $$", False),
        ("/* a */", "", True),
    ],
)
def test_cosmetic_and_semantic_edits(one: str, other: str, same: bool) -> None:
    assert same_meaning([one], [other]) is same


def test_statements_split_otherwise_mean_the_same() -> None:
    assert same_meaning(["a; b", "c"], ["a", "b", "-- x", "c"])


def test_without_word() -> None:
    sql = "/* concurrently */ create index CONCURRENTLY i"
    assert without_word(sql, "concurrently") == "/* concurrently */ create index  i"
    assert without_word("select 1", "x") == "select 1"


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "sql",
    [
        "E'a'" + "--" * 50_000,
        "E'" + "\\'" * 200_000,
        "/*" * 50_000,
        "(" * 50_000,
        "$a$" + "$b$" * 50_000,
        "'" * 99_999,
        "(" * 6 + "x'y'," * 50_000,
        "select $a$ " * 50_000,
        "copy t from stdin;\n" + "1\\.\n" * 50_000,
    ],
)
def test_no_text_takes_longer_than_its_length(sql: str) -> None:
    assert len(split(sql)) == 1


def test_a_large_file_is_not_held_many_times_over() -> None:
    sql = (
        "insert into t values " + "(1, 'text'),\n" * 200_000 + "(2);" + "select $$" + "x" * 2_000_000 + "$$;"
    )
    tracemalloc.start()
    try:
        assert len(split(sql)) == 2
        assert tracemalloc.get_traced_memory()[1] < 8 * len(sql)
    finally:
        tracemalloc.stop()
