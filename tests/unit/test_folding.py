"""Policies taken apart as texts: alternatives, subqueries that hold an expression only, what a token says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.verify.folding import Token, alternatives, arms, comparisons, folded, unwrapped

OWNER = "(owner_id = ( SELECT auth.uid() AS uid))"


def test_alternatives_are_those_at_the_top() -> None:
    inner = "(EXISTS ( SELECT 1 FROM x WHERE ((x.a = 1) OR (x.b = 2))))"
    assert alternatives(f"({OWNER} OR {inner})") == [OWNER, inner]
    assert alternatives(inner) == [inner.removeprefix("(").removesuffix(")")]


def test_arms_reach_into_what_is_joined_by_and_but_into_no_subquery() -> None:
    text = f"({OWNER} AND ((a = ' OR '::text) OR (EXISTS ( SELECT 1 FROM x WHERE ((x.a = 1) OR (x.b = 2))))))"
    whole, *inside = arms(text)
    assert whole == text[1:-1]
    assert inside == ["(a = ' OR '::text)", "(EXISTS ( SELECT 1 FROM x WHERE ((x.a = 1) OR (x.b = 2))))"]


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (OWNER, "(owner_id = auth.uid())"),
        (
            "(( SELECT (auth.jwt() ->> 'aal'::text)) = 'aal2'::text)",
            "(((auth.jwt() ->> 'aal'::text)) = 'aal2'::text)",
        ),
        ("(a IN ( SELECT x.a FROM x))", "(a IN ( SELECT x.a FROM x))"),
        ("(a = ( SELECT ' FROM '::text AS text))", "(a = (' FROM '::text))"),
    ],
)
def test_a_subquery_without_a_table_is_its_expression(text: str, bare: str) -> None:
    assert unwrapped(text) == bare


def test_a_token_is_put_in_its_place() -> None:
    text = (
        "((auth.uid() = a) AND (auth.role() = 'x'::text) AND "
        "(((current_setting('request.jwt.claims'::text, true))::json ->> 'aal'::text) = 'aal3'::text))"
    )
    assert folded(text, Token("anon", None)) == (
        "((NULL::uuid = a) AND ('anon'::text = 'x'::text) AND (('aal1'::text) = 'aal3'::text))"
    )


def test_comparisons_are_taken_from_every_side() -> None:
    assert list(comparisons("((a = 1) OR ((b = 'x = y'::text) AND (c > 2)))")) == [
        ("a", "1"),
        ("b", "'x = y'::text"),
    ]


@given(st.text("()'\" =ORANDSELECTFROM", max_size=60))
def test_any_text_comes_apart_without_an_error_and_without_loss(text: str) -> None:
    unwrapped(text)
    list(comparisons(text))
    assert all(arm in text for arm in arms(text))
