"""Limits of the Realtime server, with the genuine defaults, and the rates by which some are measured."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW = 12
"""Samples in a rate's window: one minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a tenant of the genuine server may do by default; all of it can be changed."""

    max_events_per_second: int = 100
    """Delivered frames; postgres_changes above it are dropped without a word, for up to a minute."""
    max_joins_per_second: int = 100
    max_concurrent_users: int = 200
    max_channels_per_client: int = 100
    max_presence_events_per_second: int = 1000
    rate_tick: float = 5.0
    """Seconds between two samples of a rate; its window is twelve of them."""
    max_payload_size_in_kb: int = 3000
    """Of a broadcast, compared as n × 1000 + 500 bytes of Erlang's external term format."""
    max_frame_bytes: int = 5_000_000
    """Of a frame from a client; above it the socket is closed with 1009."""
    max_record_bytes: int = 1024 * 1024
    """Of a change as wal2json would write it; above it only small values are sent, with Error 413."""
    client_presence_calls: int = 5
    """Presence calls of one channel in one window."""
    client_presence_window: float = 30.0
    """Seconds."""
    replay_limit: int = 25
    idle_timeout: float = 60.0
    """Seconds without a frame from the client until the socket is closed."""
    send_buffer_bytes: int = 32 * 1024 * 1024
    """What may wait for a slow consumer before it is cut off."""
    private_only: bool = False
    suspend: bool = False
    presence_enabled: bool = False

    @classmethod
    def generous(cls) -> Limits:
        """Rates and counts that no test or benchmark reaches; everything else as by default."""
        many = 10_000_000
        return cls(
            max_events_per_second=many,
            max_joins_per_second=many,
            max_concurrent_users=many,
            max_channels_per_client=many,
            max_presence_events_per_second=many,
            client_presence_calls=many,
        )


@dataclass(slots=True)
class RateCounter:
    """An average per second over twelve samples, ``tick`` seconds apart: bursts pass, penalties last.

    The first sample is taken at once, and empty; until the window is full the average is over the samples
    there are. ``fixed`` divides by the whole window always, as the genuine server does for database events.
    """

    limit: float
    tick: float = 5.0
    fixed: bool = False
    triggered: bool = False
    average: float = 0.0
    now: float | None = None
    """When the last sample was due; the first use starts the clock."""
    _count: int = 0
    _samples: deque[int] = field(default_factory=lambda: deque([0], maxlen=WINDOW))

    def add(self, now: float, count: int = 1) -> None:
        self.sample(now)
        self._count += count

    def sample(self, now: float) -> bool:
        """Take the samples that are due; whether the limit is exceeded."""
        if self.now is None:
            self.now = now
        if now - self.now < self.tick:
            return self.triggered
        missed = min(int((now - self.now) // self.tick), WINDOW + 1)
        self.now += self.tick * ((now - self.now) // self.tick)
        for _ in range(missed):
            self._samples.append(self._count)
            self._count = 0
        samples = WINDOW if self.fixed else len(self._samples)
        self.average = sum(self._samples) / samples / self.tick
        self.triggered = self.average >= self.limit
        return self.triggered


def external_size(term: object) -> int:
    """Bytes of a JSON value in Erlang's external term format, by which payloads are measured. However deep it is."""
    total, left = 1, [term]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            total += 5
            left += item
            left += item.values()
        elif isinstance(item, list):
            total += 6 if item else 1
            left += item
        else:
            total += _size(item)
    return total


def _size(term: object) -> int:
    match term:
        case None | bool():
            return 2 + len(str(term)) - (term is None)  # nil, true, false
        case int():
            return _integer_size(term)
        case float():
            return 9
        case str():
            return 5 + len(term.encode(errors="surrogatepass"))
        case bytes():
            return 5 + len(term)
    raise TypeError(f"not a JSON value: {term!r}")


def _integer_size(number: int) -> int:
    if 0 <= number < 256:
        return 2
    if -(2**31) <= number < 2**31:
        return 5
    return 3 + (abs(number).bit_length() + 7) // 8
