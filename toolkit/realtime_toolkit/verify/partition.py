"""Today's partition of ``realtime.messages``, which the Realtime server makes while somebody uses it.

Without it ``realtime.send`` only warns, and no probe of a private channel finds a place. So where it is missing it is made
inside the transaction that is rolled back, as the server would make it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from realtime_toolkit.verify.probing import sqlstate_of

if TYPE_CHECKING:
    from realtime_toolkit.verify.session import Connection


@dataclass(frozen=True, slots=True)
class Partition:
    """One that was missing. ``refused`` is the SQLSTATE that kept us from making it; empty where it was made."""

    refused: str = ""


_PLACE = "insert into realtime.messages (topic, extension) values ('toolkit-probe', 'broadcast')"
_MAKE = """
do $$ begin
  execute format('create table realtime.%I partition of realtime.messages for values from (%L) to (%L)',
    to_char(now(), '"messages_"YYYY_MM_DD'), current_date, current_date + 1);
end $$
"""


def make_partition(connection: Connection) -> Partition | None:
    """``None`` where today's is there."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(_PLACE)
    except psycopg.errors.CheckViolation:
        return _made(connection)
    except psycopg.Error as error:
        sqlstate_of(error)  # what else it may be is for the probes themselves to say
    return None


def _made(connection: Connection) -> Partition:
    try:
        with connection.transaction():
            connection.execute(_MAKE)
            connection.execute(_PLACE)
    except psycopg.Error as error:
        return Partition(sqlstate_of(error))
    return Partition()
