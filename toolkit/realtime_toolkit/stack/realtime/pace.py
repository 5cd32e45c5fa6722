"""How long the server takes its time: not at all, or as the genuine one does."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """All in seconds; pairs are ranges from which a value is drawn."""

    refused_join: float = 0.0
    refused_socket: float = 0.0
    resubscribe: tuple[float, float] = (0.0, 0.0)
    first_subscription: tuple[float, float] = (0.0, 0.0)
    """Until the first postgres_changes subscription after the server's start."""
    poll: float = 0.0
    """An idle poller looks again after this long."""
    publication_check: float = 2.5
    """How often the published tables are looked at for running subscriptions, if they may have changed."""
    reconnect: tuple[float, float] = (0.05, 0.2)
    messages_after: tuple[float, float] = (0.0, 0.0)
    """For how much longer broadcasts from the database are lost after an outage: they have a stream of their own."""
    after_failed_batch: tuple[float, float] = (0.1, 0.1)
    """For how long changes are lost after a policy raised."""
    database_timeout: float = 0.0
    """Until a request is answered while the database is out of reach."""
    retry_subscription: tuple[float, float] = (0.1, 0.5)

    @classmethod
    def named(cls, name: Literal["fast", "genuine"]) -> Pace:
        return cls() if name == "fast" else GENUINE


GENUINE = Pace(
    refused_join=5.0,
    refused_socket=2.0,
    resubscribe=(1.0, 3.0),
    first_subscription=(1.4, 2.9),
    poll=0.5,
    publication_check=60.0,
    reconnect=(2.0, 5.0),
    messages_after=(3.0, 6.0),
    after_failed_batch=(1.0, 4.0),
    database_timeout=15.0,
    retry_subscription=(5.0, 10.0),
)


def draw(span: tuple[float, float]) -> float:
    return random.uniform(*span)
