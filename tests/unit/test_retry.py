"""How long something is tried again, and how often that is said."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from realtime_toolkit.errors import (
    ConfigError,
    InputError,
    NotFound,
    SchemaError,
    StaleAttempt,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    ToolkitError,
    Unauthorized,
    Unreachable,
)
from realtime_toolkit.retry import Outage, backoff, is_final, persist
from tests.unit.virtual_time import now, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def failing(*errors: Exception) -> Callable[[], Awaitable[str]]:
    left = list(errors)

    async def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


def test_the_bound_doubles_up_to_the_cap() -> None:
    assert list(islice(backoff(0.5, 3, rand=lambda: 1.0), 5)) == [0.5, 1, 2, 3, 3]


def test_a_passing_failure_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    assert run(persist(failing(*[Unreachable("away")] * 5), patience=60)) == "done"
    assert caplog.text.count("away") == 1


@pytest.mark.parametrize(
    "error", [StoreError("no"), InputError("no"), KeyError("a bug"), SchemaError("not there")]
)
def test_anything_else_is_raised_at_once(error: Exception) -> None:
    async def job() -> float:
        with pytest.raises(type(error)):
            await persist(failing(error), patience=60)
        return now()

    assert run(job()) == 0


def test_a_schema_that_has_worked_is_waited_for() -> None:
    assert run(persist(failing(SchemaError("migrating")), patience=60, worked=True)) == "done"


def test_a_wait_that_was_asked_for_is_within_the_patience() -> None:
    async def job() -> float:
        with pytest.raises(StoreUnavailable):
            await persist(failing(StoreUnavailable("busy", retry_after=60)), patience=5)
        return now()

    assert run(job()) == 0


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (ConfigError("x"), True),
        (InputError("x"), True),
        (NotFound("x"), True),
        (StaleAttempt("x"), True),
        (StoreClosed("x"), True),
        (Unauthorized("x"), True),
        (Unauthorized("x", retryable=True), False),
        (SchemaError("x"), False),
        (StoreError("x"), False),
        (ToolkitError("x"), False),
        (KeyError("x"), False),
    ],
)
def test_what_ends_a_loop_that_runs_for_ever(error: Exception, final: bool) -> None:
    assert is_final(error) is final


def test_an_outage_is_one_line_at_its_begin_and_one_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = Outage("claiming")
    outage.over()
    for _ in range(9):
        assert 0 <= outage.pause(Unreachable("key=S3CRET")) <= 30
    assert outage.pause(StoreUnavailable("busy", retry_after=45)) == 45
    outage.over()
    outage.over()
    assert [record.message for record in caplog.records] == [
        "claiming fails, and is tried until it works: key=***",
        "claiming works again",
    ]
