"""Seeded rows in a transaction that is always rolled back: what every dynamic check stands on."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from realtime_toolkit.verify.access import Access
from realtime_toolkit.verify.catalogue import facts
from realtime_toolkit.verify.config import Config
from realtime_toolkit.verify.ownership import Belonging, find_belonging, rights_asked_for
from realtime_toolkit.verify.partition import Partition, make_partition
from realtime_toolkit.verify.people import PEOPLE, Who
from realtime_toolkit.verify.probing import Actor, actor
from realtime_toolkit.verify.seeding import Seeder
from realtime_toolkit.verify.sequences import hold
from realtime_toolkit.verify.session import settings, snapshot
from realtime_toolkit.verify.tables import Model, read_model
from realtime_toolkit.verify.tokens import claims

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.session import Connection


@dataclass(frozen=True, slots=True)
class Stage:
    """What one transaction with seeded rows offers, for the matrices and for the leak hunt."""

    connection: Connection
    model: Model
    belonging: Belonging
    seeder: Seeder
    access: Access
    config: Config
    moving: tuple[str, ...]
    """Sequences whose numbers stay taken."""
    partition: Partition | None = None
    """Today's of ``realtime.messages``, where it was not there."""

    def person(self, who: Who) -> Actor:
        """Signed in as that person."""
        return actor("authenticated", who, self.seeder.world, self.belonging, self.config)

    def people(self) -> Iterator[Actor]:
        """Everybody there is, and Alice with each right that the policies of private channels ask a token for."""
        world = self.seeder.world
        for who in (*PEOPLE, Who.CAROL):
            if who is not Who.CAROL or who in world.users:
                yield self.person(who)
        for right in rights_asked_for(self.model.message_policies):
            yield Actor("authenticated", claims(Who.ALICE, world, self.belonging, self.config, (right,)))


@contextmanager
def staged(
    connection: Connection,
    config: Config,
    *,
    schemas: Sequence[str] = (),
    seed: bool = True,
    alone: bool = False,
) -> Iterator[Stage]:
    """Seeded rows in a transaction that is rolled back whatever happens; ``alone`` also what sequences gave."""
    with snapshot(connection):
        settings(connection, schemas, config.expected)
        model = replace(read_model(connection, facts()), exposed=config.exposed)
    with connection.transaction(force_rollback=True):
        moving = hold(connection, model.sequences) if alone else tuple(model.sequences)
        connection.execute("set local statement_timeout = '15s'")
        connection.execute("set local lock_timeout = '3s'")
        absent = make_partition(connection) if model.has_messages else None
        belonging = find_belonging(model, config)
        seeder = Seeder(connection, model, belonging, config)
        if seed:
            seeder.seed()
        access = Access(connection, model, belonging, seeder, config)
        yield Stage(connection, model, belonging, seeder, access, config, moving, absent)
