"""What a binding asks for, and what is said of one that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from realtime_toolkit.stack.realtime.bindings import (
    Binding,
    BindingError,
    Filter,
    from_topic,
    parse,
    parse_filters,
    split_conditions,
)


def things(**more: Any) -> dict[str, Any]:
    return {"schema": "public", "table": "things", **more}


@pytest.mark.parametrize(
    ("params", "binding"),
    [
        (things(), Binding("*", "public", "things")),
        (things(event="insert"), Binding("INSERT", "public", "things")),
        (things(event="UPSERT"), Binding("*", "public", "things")),
        (things(event=None), Binding("*", "public", "things")),
        ({"schema": "s"}, Binding("*", "s", "*")),
        ({"table": "t"}, Binding("*", "public", "t")),
        (things(select=[]), Binding("*", "public", "things")),
        (things(select=["a", 1, "b"]), Binding("*", "public", "things", (), ("a", "b"))),
        (things(filter=" "), Binding("*", "public", "things")),
    ],
)
def test_bindings(params: dict[str, Any], binding: Binding) -> None:
    assert parse(params) == binding


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({}, "to subscribe to: %{}"),
        ({"event": "*"}, 'to subscribe to: %{"event" => "*"}'),
        ({"schema": "s", "user_token": "secret"}, None),
        ({"event": "*", "user_token": "secret"}, "to subscribe to: <redacted>"),
        (things(filter=5), 'to subscribe to: %{"filter" => 5, "schema" => "public", "table" => "things"}'),
        ({"schema": "public", "table": None}, 'to subscribe to: %{"schema" => "public", "table" => nil}'),
        ({"table": "t", "filter": "id=eq.1"}, 'to subscribe to: %{"filter" => "id=eq.1", "table" => "t"}'),
        (things(select="id"), "expected a list of column name strings"),
        ({"schema": "*", "table": "t", "select": ["id"]}, "not supported for wildcard subscriptions"),
    ],
)
def test_bindings_that_cannot_be(params: dict[str, Any], text: str | None) -> None:
    if text is None:
        parse(params)
        return
    with pytest.raises(BindingError) as refused:
        parse(params)
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("id=eq.1", [Filter("id", "eq", "1")]),
        (" id=eq.1 ", [Filter("id", "eq", "1")]),
        ("id=not.eq.1", [Filter("id", "eq", "1", negated=True)]),
        ("id=in.(1,2)", [Filter("id", "in", "{1,2}")]),
        ("id=in.()", [Filter("id", "in", "{}")]),
        ("a=gt.0,a=lt.9", [Filter("a", "gt", "0"), Filter("a", "lt", "9")]),
        ("t=eq.a.b=c", [Filter("t", "eq", "a.b=c")]),
        ('t=eq."a,b"', [Filter("t", "eq", "a,b")]),
        (r't=eq."say \"hi\" \\"', [Filter("t", "eq", 'say "hi" \\')]),
        ('t=eq."a"b', [Filter("t", "eq", '"a"b')]),
        ('t=eq.a"b', [Filter("t", "eq", 'a"b')]),
        ('t=in.("a,b",c),id=eq.1', [Filter("t", "in", '{"a,b",c}'), Filter("id", "eq", "1")]),
        ("t=match.^(a,b)$", [Filter("t", "match", "^(a,b)$")]),
        ("t=is.null", [Filter("t", "is", "null")]),
    ],
)
def test_filters(text: str, filters: list[Filter]) -> None:
    assert parse_filters(text) == tuple(filters)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pie", '["pie"]'),
        ("id=pie", '["pie"]'),
        ("id=foo.hey", '["foo", "hey"]'),
        ("id=not.foo.hey", '["foo", "hey"]'),
        ("id=in.1,2", "`in` filter value must be wrapped by parentheses"),
        ("id=eq.1,", "filter must not contain empty segments (check for extra commas)"),
        ("tags=eq.{a,b}", '["b}"]'),
    ],
)
def test_filters_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(BindingError) as refused:
        parse_filters(text)
    assert str(refused.value) == f"Error parsing `filter` params: {said}"


def test_conditions_are_split_outside_of_parentheses_and_quotes() -> None:
    assert split_conditions('a=in.(1,2),b=eq."x,y",c=eq.1') == ["a=in.(1,2)", 'b=eq."x,y"', "c=eq.1"]
    assert split_conditions("a=eq.),b=eq.1") == ["a=eq.)", "b=eq.1"]
    assert split_conditions('a=eq."x\\",y",b') == ['a=eq."x\\",y"', "b"]


def test_a_binding_as_the_server_prints_it() -> None:
    binding = parse(things(event="INSERT", filter='t=not.eq."a"', select=["id"]))
    assert str(binding) == (
        'event: INSERT, schema: public, table: things, filters: [{"t", "eq", "a", true}], select: ["id"]'
    )
    assert str(parse({"schema": "s"})) == "event: *, schema: s, table: *, filters: [], select: nil"


def test_old_topics_are_bindings() -> None:
    assert from_topic("public") == {"schema": "public"}
    assert from_topic("public:t") == {"schema": "public", "table": "t"}
    assert from_topic("public:t:id=eq.a:b") == {"schema": "public", "table": "t", "filter": "id=eq.a:b"}
