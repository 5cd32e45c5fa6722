"""JSON with its digits: the fast reader, the careful one, and the cuts between."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.exact import DEPTH, Unreadable, dumps, loads, read_row, shallow

NUMBERS = (
    st.integers()
    | st.integers(-(2**300), 2**300)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from([Decimal("1.5000"), Decimal("-0.0"), Decimal("1E+400"), Decimal("9" * 6000 + ".5")])
)
TEXTS = st.text(st.characters(), max_size=20)
"""Lone surrogates and U+0000 among them."""
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def spelled(value: Any) -> Any:
    """So that 1.50 is not 1.5."""
    if isinstance(value, dict):
        return {name: spelled(each) for name, each in value.items()}
    return [*map(spelled, value)] if isinstance(value, list) else (str(type(value) is bool), str(value))


@given(JSON)
def test_what_is_written_reads_back_with_every_digit(value: Any) -> None:
    text = dumps(value)
    assert loads(text) == value
    assert loads(text.decode()) == value
    if not any(isinstance(each, Decimal) and each == each.to_integral() for each in leaves(value)):
        assert spelled(loads(text)) == spelled(value)  # a Decimal without a point is read as an integer


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        return [
            leaf for each in (value.values() if isinstance(value, dict) else value) for leaf in leaves(each)
        ]
    return [value]


@given(st.dictionaries(TEXTS, JSON, max_size=5) | st.lists(JSON, max_size=5), st.booleans())
def test_a_text_is_cut_into_its_values(value: Any, spaced: bool) -> None:
    text = dumps(value)
    if spaced:
        text = b" " + text + b"\n"
    parts = shallow(text)
    if isinstance(value, dict):
        assert isinstance(parts, dict)
        assert {name: loads(part) for name, part in parts.items()} == value
    else:
        assert [loads(part) for part in parts] == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        '"x"',
        "{",
        "[",
        "[1",
        "[1,]",
        "[,1]",
        '{"a"}',
        '{"a":}',
        "[1]2",
        "[1}{2]",
        "{1:2}",
        '["a":1]',
        "][",
    ],
)
def test_what_is_no_object_or_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        shallow(text.encode())


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", "[1,]", "", "{1:2}", '"\t"', "[1] 2", "01", "nul", b"\xff"]
)
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        loads(text)


def test_integers_longer_than_python_converts_are_decimals() -> None:
    digits = "7" * 131072
    assert loads(f'{{"a": [-{digits}]}}') == {"a": [Decimal(f"-{digits}")]}
    assert loads("7" * 4300) == int("7" * 4300)


@pytest.mark.parametrize("levels", [DEPTH, DEPTH + 1, 5000, 200_000])
@pytest.mark.parametrize("brackets", ["[]", '{"a":0}'])
def test_a_row_may_be_so_deep_and_no_deeper(levels: int, brackets: str) -> None:
    opening, closing = (brackets[:-1].removesuffix("0"), brackets[-1])
    inner = opening * (levels - 1) + "0" + closing * (levels - 1)
    text = f'{{"id": 1, "deep": {inner}}}'
    if levels <= DEPTH:
        assert read_row(text.encode())["id"] == 1
        return
    with pytest.raises(Unreadable, match="nested deeper"):
        read_row(text.encode())
    assert shallow(text.encode()) == {"id": b"1", "deep": inner.encode()}


@pytest.mark.parametrize("length", range(470, 530))
def test_wherever_a_long_text_is_looked_at_in_parts_it_is_cut_at_the_same_places(length: int) -> None:
    padding = b'"%b"' % (b"x" * length)
    values = [padding, b'{"a":[[1],[2,{"b":"]"}]]}', b"[[[]]]", b'"\\\\\\""', b"5"]
    assert shallow(b"[" + b",".join(values) + b"]") == values
    deep = b"[" * 3000 + padding + b"]" * 3000
    assert shallow(b'{"a":' + deep + b',"b":[' + padding + b"]}") == {"a": deep, "b": b"[" + padding + b"]"}


def test_brackets_in_texts_are_no_depth() -> None:
    row = {"text": "[{" * 2000, "many": [[]] * 2000}
    assert read_row(json.dumps(row).encode()) == row


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"x"', b"{", b'{"a": 1}}'])
def test_a_row_is_an_object(text: bytes) -> None:
    with pytest.raises(Unreadable):
        read_row(text)


def test_of_a_name_given_twice_the_last_value_counts_as_in_jsonb() -> None:
    assert loads('{"a": 1, "a": 2}') == {"a": 2}
    assert loads('{"a": 1, "a": "\\ud800"}') == {"a": "\ud800"}
