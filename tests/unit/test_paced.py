"""Tokens from text: all of it, at the rate asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.write.agent import paced
from tests.unit.virtual_time import now, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def collect(text: str | AsyncIterator[str], rate: float | None = None) -> list[tuple[float, str]]:
    return [(now(), token) async for token in paced(text, rate)]


@given(st.text(st.characters()))
def test_no_character_is_lost_and_no_token_is_long(text: str) -> None:
    tokens = [token for _, token in run(collect(text))]
    assert "".join(tokens) == text
    assert all(0 < len(token) <= 20 for token in tokens)


def test_words_keep_the_space_before_them() -> None:
    assert [token for _, token in run(collect("Two words\n\n- more "))] == [
        "Two",
        " words",
        "\n\n-",
        " more",
        " ",
    ]


def test_the_rate_is_kept_without_drift() -> None:
    tokens = run(collect("a " * 500, rate=50))
    assert len(tokens) == 501
    assert tokens[0][0] == pytest.approx(0.02)
    assert tokens[-1][0] == pytest.approx(501 / 50)


def test_pieces_are_passed_on_as_they_come_and_a_pause_makes_no_burst() -> None:
    async def source() -> AsyncIterator[str]:
        yield "one two"
        await asyncio.sleep(10)
        yield " three four five"

    tokens = run(collect(source(), rate=10))
    assert [token for _, token in tokens] == ["one", " two", " three", " four", " five"]
    times = [at for at, _ in tokens]
    assert times[1] == pytest.approx(0.2)
    assert times[2] >= 10.2
    assert times[4] - times[2] == pytest.approx(0.2)
