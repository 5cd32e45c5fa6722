"""What is read from the bodies and parameters of functions: SQL built from arguments, words, who is asked. Pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.verify.arguments import words
from realtime_toolkit.verify.functions import acts_outside, asks_who_calls
from realtime_toolkit.verify.marks import Mark, is_counted
from realtime_toolkit.verify.sqlbuilding import pasted


@pytest.mark.parametrize(
    ("body", "parameters", "expected"),
    [
        ("begin execute 'select count(*) from ' || relation into n; end", {"relation"}, {"relation"}),
        ("begin execute p_sql; end", {"p_sql"}, {"p_sql"}),
        ("begin execute $1; end", {"$1"}, {"$1"}),
        ("begin execute 'select ' || \"pCol\"; end", {"pCol"}, {"pCol"}),
        ("begin execute format('update t set %s = %L', field, value); end", {"field", "value"}, {"field"}),
        ("begin execute format('select %1$s where a = %2$L', p, q); end", {"p", "q"}, {"p"}),
        ("begin execute format($f$select %s$f$, p); end", {"p"}, {"p"}),
        ("begin execute concat('select ', p); end", {"p"}, {"p"}),
        ("begin for r in execute 'select ' || p loop return next r; end loop; end", {"p"}, {"p"}),
        ("declare s text; begin s := 'select '; s := s || p; return query execute s; end", {"p"}, {"p"}),
        ("declare s text := 'select ' || p; begin execute s; end", {"p"}, {"p"}),
        ("declare s text; begin select format('select %s', p) into s; execute s; end", {"p"}, {"p"}),
        # Quoted, bound, cast, listed or never executed.
        ("begin execute 'select ' || quote_ident(p) || quote_literal('%' || q || '%'); end", {"p", "q"}, set()),
        ("begin execute format('select %I from t where a = %L', p, q); end", {"p", "q"}, set()),
        ("begin execute 'select 1 where a ilike $1' using '%' || p || '%'; end", {"p"}, set()),
        ("begin execute format('select count(*) from %s', p::regclass); end", {"p"}, set()),
        ("begin if p not in ('a', 'b') then raise 'no'; end if; execute 'select ' || p; end", {"p"}, set()),
        ("begin if p = any (array['a', 'b']) then execute 'select ' || p; end if; end", {"p"}, set()),
        ("begin if p !~ '^[a-z]+$' then raise 'no'; end if; execute 'select ' || p; end", {"p"}, set()),
        ("begin execute 'select 1 order by ' || case p when 'x' then 'a' else 'b' end; end", {"p"}, set()),
        ("declare d text := case when p = 'desc' then 'desc' end; begin execute 'select 1 ' || d; end", {"p"}, set()),
        ("begin perform 'x' || p; execute 'select 1'; end", {"p"}, set()),
        ("begin grant execute on function f() to r; end", {"p"}, set()),
    ],
)  # fmt: skip
def test_arguments_that_become_part_of_executed_sql(
    body: str, parameters: set[str], expected: set[str]
) -> None:
    assert pasted(body, parameters) == expected


@given(st.text(alphabet="begin execute'|;()$ format,%sIpq:=:case when then end\n"))
def test_any_body_can_be_read(body: str) -> None:
    assert pasted(body, {"p", "q"}) <= {"p", "q"}


@given(st.text(alphabet="abc_ |'", max_size=20))
def test_what_a_literal_says_is_no_argument(inside: str) -> None:
    literal = "'" + inside.replace("'", "''") + "'"
    assert pasted(f"begin execute {literal}; end", {"a", "b", "c"}) == frozenset()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p_user_id", ("p", "user", "id")),
        ("targetUserId", ("target", "user", "id")),
        ("_org", ("org",)),
        ("", ()),
    ],
)
def test_words_of_a_name(name: str, expected: tuple[str, ...]) -> None:
    assert words(name) == expected


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        ("select 1 where user_id = auth.uid()", True),
        ("select auth . jwt() ->> 'sub'", True),
        ("select current_setting('request.jwt.claims', true)", True),
        ("select uid from author", False),
    ],
)
def test_whether_a_body_asks_who_calls(body: str, asks: bool) -> None:
    assert asks_who_calls(body) is asks


@pytest.mark.parametrize(
    ("body", "called"),
    [
        ("perform net.http_post(url := 'https://example.com')", "net.http_post"),
        ("select * from dblink('x')", "dblink"),
        ("copy t to program 'sh'", "copy t to program"),
        ("select network.status() from net_prices", ""),
    ],
)
def test_what_no_rollback_undoes_is_seen(body: str, called: str) -> None:
    assert acts_outside(body) == called


def test_a_mark_is_found_as_a_word_of_its_own() -> None:
    assert Mark("c", "7345001").is_in('(1,"x",7345001.00)')
    assert not Mark("c", "7345001").is_in("17345001")
    assert not Mark("c", "7345001").is_in("73450012")


@pytest.mark.parametrize(
    ("column", "before", "after", "counted"),
    [
        ("view_count", 3, 4, True),
        ("likes", 4, 3, True),
        ("view_count", 3, 9, False),
        ("balance", 3, 4, False),
    ],
)
def test_a_counter_moves_by_one(column: str, before: int, after: int, counted: bool) -> None:
    assert is_counted(column, before, after) is counted
