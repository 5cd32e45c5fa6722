"""Faults on demand: every known way a change is lost, and every way a connection fails. Pure.

A fault is injected by name, with an argument, and strikes either at once (a socket is cut) or at its next
opportunities (the next batch is lost): ``count`` times, or with the probability ``rate`` at each. What is
left to chance comes from the seed, for each fault apart, so the same seed gives the same decisions in the
same order. :func:`schedule` makes a whole programme of faults from a seed.

The server asks at each point where a fault could strike, but only if ``armed`` is true.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from realtime_toolkit.errors import InputError


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers, the limits included."""

    least: float
    most: float

    def __contains__(self, number: object) -> bool:
        return isinstance(number, float) and self.least <= number <= self.most


SECONDS = Between(0, 86_400)
NUMBER = Between(0, 1_000_000_000)
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
STATUSES = range(400, 600)
MISSING = ("toast", "413", "400", "401")


@dataclass(frozen=True, slots=True)
class Kind:
    """``argument`` is the default, and ``among`` what it may be; ``None`` for a fault that takes none. ``at_once``
    needs no opportunity."""

    name: str
    alias: str
    argument: float | str | None
    at_once: bool
    effect: str
    among: Container[object] = SECONDS


KINDS: tuple[Kind, ...] = (
    Kind("socket-gap", "L1", None, True, "every socket is cut; the server keeps nothing for it"),
    Kind(
        "late-subscription", "L2", 2.0, False, "the next join is answered at once, subscribed S seconds later"
    ),
    Kind(
        "publication-change", "L3", 1.0, True, "all subscriptions are dropped, and made again after S seconds"
    ),
    Kind("not-decoded", "L4", 60.0, True, "tables published from now on are not decoded for S seconds"),
    Kind("rate-limit", "L5", 5.0, True, "changes are skipped for S seconds, as above the rate limit"),
    Kind("batch-lost", "L6", None, False, "the next batch is lost, as if a policy had raised"),
    Kind(
        "slot-lost",
        "L7",
        1.0,
        True,
        "the replication connection ends; after S seconds the WAL is read from a new slot, and nobody is told",
    ),
    Kind(
        "truncated",
        "L8",
        "toast",
        False,
        "the next change comes without values: toast, 413, 400 or 401",
        MISSING,
    ),
    Kind("send-swallowed", "L9", None, False, "the next broadcast from the database is not sent"),
    Kind("replay-capped", "L10", 1.0, False, "the next replay has no more than N messages", NUMBER),
    Kind("delete-lost", "L11", None, False, "the next DELETE is told to nobody, as under a scope filter"),
    Kind(
        "cut-transaction",
        "L12",
        100.0,
        False,
        "the next larger transaction arrives cut after N changes",
        NUMBER,
    ),
    Kind(
        "connections-lost",
        "",
        1.0,
        True,
        "as slot-lost, but every connection to the database ends; afterwards all channels subscribe again",
    ),
    Kind("abort", "", None, True, "every socket is cut without a close frame"),
    Kind("close", "", 1011.0, True, "every socket is closed with the code N", CLOSE_CODES),
    Kind("half-open", "", None, True, "every socket stays open, and nothing is read or written any more"),
    Kind("mute-heartbeats", "", None, False, "the next heartbeat is not answered"),
    Kind("join-never", "", None, False, "the next join is not answered"),
    Kind("join-late", "", 6.0, False, "the next join is answered S seconds later"),
    Kind("stale-close", "", None, True, "every channel gets a phx_close of a join that is long over"),
    Kind("malformed-frame", "", None, True, "every socket gets a frame that is not JSON"),
    Kind("duplicate", "", None, False, "the next change is sent twice"),
    Kind("delay", "", 1.0, False, "the next changes are sent S seconds later"),
    Kind("expire-token", "", None, True, "every channel's token expires now"),
    Kind("refuse", "", 401.0, False, "the next socket is refused with the HTTP status N", STATUSES),
    Kind("slow-consumer", "", None, True, "every socket is cut off as if its client did not read"),
)
_BY_NAME = {name: kind for kind in KINDS for name in (kind.name, kind.alias) if name}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that strikes."""

    name: str
    argument: float | str | None = None

    @property
    def number(self) -> float:
        return float(self.argument or 0)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int | None
    rate: float


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault of a :func:`schedule`; ``at`` is in seconds from its beginning."""

    at: float
    fault: Fault


@dataclass(slots=True)
class Faults:
    seed: int = 0
    armed: bool = False
    """Whether any fault waits for its opportunity."""
    struck: list[Fault] = field(default_factory=list)
    """All that struck so far, in order."""
    _waiting: dict[str, list[_Armed]] = field(default_factory=dict)
    _chances: dict[str, random.Random] = field(default_factory=dict)
    _act: Callable[[Fault], None] | None = None

    def on_strike(self, act: Callable[[Fault], None]) -> None:
        """``act`` is called, from whatever thread, for faults that strike at once."""
        self._act = act

    def inject(
        self,
        name: str,
        argument: float | str | None = None,
        *,
        count: int | None = 1,
        rate: float = 1.0,
    ) -> Fault:
        """Inject a fault by name or number (``L6``). ``count`` ``None``: until :meth:`clear`.

        Raises :class:`~realtime_toolkit.errors.InputError` for an unknown name or an argument that makes no sense.
        """
        kind = find(name)
        if not 0 <= rate <= 1 or (count is not None and count < 1):
            raise InputError("a fault strikes once or more often, at a rate from 0 to 1")
        fault = Fault(kind.name, _argument(kind, argument))
        if kind.at_once:
            self.struck.append(fault)
            if self._act is not None:
                self._act(fault)
        else:
            self._waiting.setdefault(kind.name, []).append(_Armed(fault, count, rate))
            self.armed = True
        return fault

    def inject_text(self, text: str, *, count: int | None = 1, rate: float = 1.0) -> Fault:
        """``NAME`` or ``NAME:ARGUMENT``, as on the command line."""
        name, colon, argument = text.partition(":")
        return self.inject(name, argument if colon else None, count=count, rate=rate)

    def clear(self, name: str | None = None) -> None:
        """Disarm one fault, or all."""
        if name is None:
            self._waiting.clear()
        else:
            self._waiting.pop(find(name).name, None)
        self.armed = bool(self._waiting)

    def waiting(self, name: str) -> Fault | None:
        """The fault of this name that waits, for opportunities that depend on its argument."""
        armed = self._waiting.get(name)
        return armed[0].fault if armed else None

    def strike(self, name: str) -> Fault | None:
        """The fault of this name that strikes at this opportunity, if any does."""
        waiting = self._waiting.get(name)
        if not waiting:
            return None
        first = waiting[0]
        chances = self._chances.setdefault(name, random.Random(f"{self.seed}:{name}"))
        if first.rate < 1.0 and chances.random() >= first.rate:
            return None
        if first.left is not None:
            first.left -= 1
            if first.left <= 0:
                waiting.pop(0)
        if not waiting:
            self.clear(name)
        self.struck.append(first.fault)
        return first.fault


def find(name: str) -> Kind:
    """Raises :class:`~realtime_toolkit.errors.InputError`."""
    kind = _BY_NAME.get(name) or _BY_NAME.get(name.lower().replace("_", "-"))
    if kind is None:
        known = ", ".join(kind.name for kind in KINDS)
        raise InputError(f"no such fault: {name!r} (known: {known})")
    return kind


def _argument(kind: Kind, given: float | str | None) -> float | str | None:
    if given is None:
        return kind.argument
    if kind.argument is None:
        raise InputError(f"the fault {kind.name} takes no argument")
    try:
        value: float | str = str(given) if isinstance(kind.argument, str) else float(given)
    except ValueError:
        raise InputError(f"the fault {kind.name} takes a number, not {given!r}") from None
    if value not in kind.among:
        raise InputError(f"the fault {kind.name} does not take {given!r}: {kind.effect}")
    return value


def parse(text: str) -> Fault:
    """``NAME`` or ``NAME:ARGUMENT``; raises :class:`~realtime_toolkit.errors.InputError`."""
    name, colon, argument = text.partition(":")
    kind = find(name)
    return Fault(kind.name, _argument(kind, argument if colon else None))


def schedule(
    seed: int, seconds: float, every: float, names: tuple[str, ...] | None = None
) -> tuple[Planned, ...]:
    """Faults at random moments, one in ``every`` seconds on average. The same arguments, the same faults.

    ``names`` are those to choose from, with or without an argument; default: all there are.
    """
    chances = random.Random(f"schedule:{seed}")
    faults = tuple(parse(name) for name in (names or (kind.name for kind in KINDS)))
    planned: list[Planned] = []
    at = chances.expovariate(1 / every)
    while at < seconds:
        planned.append(Planned(min(round(at, 3), seconds), chances.choice(faults)))
        at += chances.expovariate(1 / every)
    return tuple(planned)
