"""Tokens from wherever the caller has them: whatever the callback does, it is bounded, retryable, and named."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.errors import ConfigError, Unreachable
from realtime_toolkit.settings import mint_token
from realtime_toolkit.tokens import TokenSource, claims, renew_after

SECRET = "x" * 32
NOW = 1_800_000_000.0


def minted(now: float = NOW, life: int = 3600, **said: Any) -> str:
    return mint_token(SECRET, "u", now=now, expires_in=life, claims=said)


async def cancelled_by_another() -> str:
    inner = asyncio.create_task(asyncio.sleep(3600))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner
    return "never"


async def never() -> str:
    await asyncio.Event().wait()
    return "never"


def raises() -> str:
    raise OSError("auth server: connection refused")


@pytest.mark.parametrize("source", ["abc", lambda: "abc", None, lambda: None])
async def test_every_kind_of_token_is_taken(source: Any) -> None:
    assert await TokenSource(source).current() == (source if not callable(source) else source())


@pytest.mark.parametrize("given", [b"abc", 7, ["abc"], "", "a b", "a\nb", "é"])
def test_what_cannot_be_a_token_is_refused_where_it_is_given(given: Any) -> None:
    with pytest.raises(ConfigError, match="token"):
        TokenSource(given)


@pytest.mark.parametrize(
    "callback", [raises, never, cancelled_by_another, lambda: b"abc", lambda: 7, lambda: "a\nb", lambda: ""]
)
async def test_a_callback_that_fails_is_named_and_may_be_tried_again(callback: Any) -> None:
    with pytest.raises(Unreachable, match="token") as caught:
        await TokenSource(callback, within=0.05).current()
    assert caught.value.retryable


async def test_what_a_callback_raised_is_told_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unreachable) as caught:
        await TokenSource(raises).current()
    assert "connection refused" in caplog.text
    assert "connection refused" not in str(caught.value)


@pytest.mark.parametrize(
    "token", [None, "", "a.b", "a.b.c", "sb_secret_x", "..", "a." + "W10=" + ".c", "\0.\0.\0"]
)
def test_what_is_no_jwt_claims_nothing(token: str | None) -> None:
    assert claims(token) == {}


def test_a_token_is_replaced_before_its_end() -> None:
    assert renew_after(minted(), NOW, 60) == 3540
    assert renew_after(minted(life=10), NOW, 60) == 8


@pytest.mark.parametrize("ahead", [3600, 7200, 10**8])
def test_a_clock_that_is_ahead_counts_the_life_from_now(ahead: float) -> None:
    assert renew_after(minted(), NOW + ahead, 60) == 3540


def test_a_token_without_an_end_is_never_replaced() -> None:
    assert renew_after("sb_publishable_x", NOW, 60) is None
    assert renew_after(minted(exp=None), NOW, 60) is None
    assert renew_after(minted(exp="soon"), NOW, 60) is None


@given(exp=st.floats(allow_nan=True) | st.integers(), iat=st.floats() | st.integers() | st.none() | st.text())
def test_odd_claims_never_make_us_ask_all_the_time(exp: float, iat: Any) -> None:
    body = base64.urlsafe_b64encode(json.dumps({"exp": exp, "iat": iat}).encode()).decode()
    pause = renew_after(f"x.{body}.x", NOW, 60)
    assert pause is None or pause >= 1
