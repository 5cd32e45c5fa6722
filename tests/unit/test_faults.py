"""Faults by name and seed, without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.errors import InputError
from realtime_toolkit.stack.realtime.faults import KINDS, Fault, Faults, find, schedule


def decisions(faults: Faults, opportunities: int) -> list[bool]:
    return [faults.strike("batch-lost") is not None for _ in range(opportunities)]


@given(st.integers(), st.floats(0.1, 0.9))
def test_the_same_seed_makes_the_same_decisions(seed: int, rate: float) -> None:
    first, second = Faults(seed), Faults(seed)
    for faults in (first, second):
        faults.inject("batch-lost", count=None, rate=rate)
    second.inject("duplicate", count=None, rate=0.5)
    for _ in range(5):
        second.strike("duplicate")  # another fault's chances are its own
    assert decisions(first, 30) == decisions(second, 30)


def test_different_seeds_differ() -> None:
    made = []
    for seed in range(4):
        faults = Faults(seed)
        faults.inject("batch-lost", count=None, rate=0.5)
        made.append(tuple(decisions(faults, 40)))
    assert len(set(made)) == 4


def test_a_fault_strikes_as_often_as_it_was_injected_and_no_more() -> None:
    faults = Faults()
    assert not faults.armed
    faults.inject("L6", count=2)
    faults.inject("L6")
    assert faults.armed
    assert decisions(faults, 5) == [True, True, True, False, False]
    assert not faults.armed
    assert faults.struck == [Fault("batch-lost")] * 3


def test_clearing_one_leaves_the_other() -> None:
    faults = Faults()
    faults.inject("batch-lost", count=None)
    faults.inject("duplicate", count=None)
    faults.clear("batch-lost")
    assert faults.strike("batch-lost") is None
    assert faults.strike("duplicate") == Fault("duplicate")
    faults.clear()
    assert not faults.armed


def test_those_that_strike_at_once_are_acted_on() -> None:
    acted: list[Fault] = []
    faults = Faults()
    faults.on_strike(acted.append)
    faults.inject_text("close:1012")
    faults.inject("socket_gap")
    assert acted == [Fault("close", 1012.0), Fault("socket-gap")]
    assert not faults.armed


@pytest.mark.parametrize("text", ["nothing", "abort:5", "close:soon", ""])
def test_what_is_not_a_fault(text: str) -> None:
    with pytest.raises(InputError):
        Faults().inject_text(text)


def test_every_way_a_change_is_lost_has_its_number() -> None:
    assert [kind.alias for kind in KINDS if kind.alias] == [f"L{number}" for number in range(1, 13)]
    assert all(find(kind.alias) is kind for kind in KINDS if kind.alias)


@given(st.integers(), st.floats(1, 60), st.floats(0.1, 10))
def test_a_schedule_is_made_of_its_seed_alone(seed: int, seconds: float, every: float) -> None:
    planned = schedule(seed, seconds, every)
    assert planned == schedule(seed, seconds, every)
    assert [item.at for item in planned] == sorted(item.at for item in planned)
    assert all(item.at <= seconds for item in planned)


def test_a_schedule_of_some_faults_only() -> None:
    names = {item.fault.name for item in schedule(1, 100, 1, ("L1", "batch-lost"))}
    assert names == {"socket-gap", "batch-lost"}
