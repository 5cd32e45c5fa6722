"""When a write starts, and what it takes: the updater's two pure parts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.write.chunking import Outbox, Throttle

SECONDS = st.floats(min_value=0, max_value=5, allow_nan=False)
ANY_TEXT = st.text(st.characters())  # surrogates and U+0000 included


Write = tuple[float, float, list[float]]
"""Start, end, and the arrival times of the text it carries."""


def writes_for(arrivals: list[float], takes: list[float], interval: float) -> list[Write]:
    """The writes, one in flight, that a Throttle makes of texts arriving at these times."""
    throttle = Throttle(interval)
    waiting = sorted(arrivals)
    writes: list[Write] = []
    now = 0.0
    while waiting:
        now = max(now, waiting[0])
        now += throttle.wait(now)
        throttle.wrote(now)
        end = now + takes[len(writes) % len(takes)]
        writes.append((now, end, [at for at in waiting if at <= now]))
        waiting = [at for at in waiting if at > now]
        now = end
    return writes


@given(st.lists(SECONDS, max_size=40), st.lists(SECONDS, min_size=1, max_size=5), st.floats(0, 2))
def test_writes_keep_their_distance_and_no_text_waits_longer(
    arrivals: list[float], takes: list[float], interval: float
) -> None:
    writes = writes_for(arrivals, takes, interval)
    for (start, end, _), (following, _, carried) in pairwise(writes):
        assert following - start >= interval - 1e-9
        for arrival in carried:
            assert following <= max(arrival, start + interval, end) + 1e-9
    assert sum(len(carried) for _, _, carried in writes) == len(arrivals)


def test_text_after_a_pause_is_written_at_once() -> None:
    throttle = Throttle(0.25)
    assert throttle.wait(100.0) == 0
    throttle.wrote(100.0)
    assert throttle.wait(100.1) == pytest.approx(0.15)
    assert throttle.wait(100.25) == 0
    assert throttle.wait(7000.0) == 0


@given(st.lists(ANY_TEXT, max_size=20), st.integers(4, 64), st.data())
def test_every_character_leaves_once_in_order_and_in_bounded_pieces(
    texts: list[str], limit: int, data: st.DataObject
) -> None:
    outbox, accepted, cut = Outbox(), "", ""
    for number, text in enumerate(texts):
        accepted += outbox.add(text, final=number == len(texts) - 1)
        if data.draw(st.booleans()):
            piece = outbox.cut(limit)
            assert len(piece.encode()) <= limit
            cut += piece
    while outbox.size:
        piece = outbox.cut(limit)
        assert piece
        assert len(piece.encode()) <= limit
        cut += piece
    assert cut == accepted
    assert outbox.cut() == ""


@given(st.lists(ANY_TEXT, max_size=20))
def test_what_is_accepted_can_be_stored_and_nothing_else_changes(texts: list[str]) -> None:
    outbox = Outbox()
    accepted = "".join(outbox.add(text) for text in texts) + outbox.add("", final=True)
    accepted.encode()  # no surrogate is left
    assert "\0" not in accepted
    joined = "".join(texts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert accepted == joined.replace("\0", "\ufffd")


def test_halves_of_a_character_meet_across_pieces() -> None:
    outbox = Outbox()
    assert outbox.add("a\ud83d") == "a"
    assert outbox.add("\ude00b") == "😀b"
    assert outbox.add("\ud83d") == ""
    assert outbox.add("", final=True) == "\ufffd"
    assert outbox.cut() == "a😀b\ufffd"


def test_a_cut_never_splits_a_character() -> None:
    outbox = Outbox()
    outbox.add("a😀😀")
    assert [outbox.cut(6), outbox.cut(6), outbox.cut(6)] == ["a😀", "😀", ""]
