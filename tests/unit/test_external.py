"""The parts of ``make test-external`` that think."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.external.pacing import Budget

GENUINE = 100 * 60
"""Changes of a minute that a genuine project delivers; above it they are dropped."""


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 120)), max_size=60))
def test_no_minute_has_more_changes_than_a_project_delivers(work: list[tuple[int, float]]) -> None:
    budget, now, written = Budget(), 1000.0, list[tuple[float, int]]()
    for changes, pause in work:
        now += pause
        now += budget.spend(changes, now)
        written.append((now, changes))
    for end, _ in written:
        assert sum(count for at, count in written if end - 60 < at <= end) < GENUINE


def test_what_fits_is_not_waited_for() -> None:
    budget = Budget(rate=60, most=1500)
    assert [budget.spend(750, 1000.0) for _ in range(3)] == [0, 0, 750 / 60]
    assert budget.spend(1, 2000.0) == 0
