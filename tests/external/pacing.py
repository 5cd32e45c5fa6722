"""How fast tests may write: a genuine project drops what is above 100 changes a second, on average over a minute."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass
class Budget:
    """Changes that may be written: ``most`` at once, then ``rate`` a second. Of a minute, ``most`` + 60 × ``rate``."""

    rate: float = 60.0
    most: float = 1500.0
    left: float = 1500.0
    at: float = 0.0

    def spend(self, changes: int, now: float) -> float:
        """Seconds to wait before they are written."""
        self.left = min(self.most, self.left + (now - self.at) * self.rate) - changes
        self.at = now
        return max(0.0, -self.left / self.rate)


class Pace:
    """What tests ask before they write much, and by which they measure how long things take.

    ``slower`` is how many times longer than on a stack a change is on its way: 0.5 s at most, where the stack's comes
    at once.
    """

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self.slower = 1.0 if budget is None else 10.0

    async def write(self, changes: int) -> None:
        """Wait until so many changes more are within what a project delivers; on a stack that is at once."""
        if self._budget is not None:
            await asyncio.sleep(self._budget.spend(changes, time.monotonic()))
