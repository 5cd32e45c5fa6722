"""Tables that an ordinary member cannot read: tried with the rights that their policies ask for.

That a stranger's row is out of reach says nothing where nobody's row can be reached. So Alice comes with the claims that an
admin's token carries, and Carol, who has the highest role in Alice's tenant, comes herself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_toolkit.verify.access import Cell, Command, Whose
from realtime_toolkit.verify.ownership import rights_asked_for
from realtime_toolkit.verify.people import Who
from realtime_toolkit.verify.probing import Actor, Answer, Result, attempt
from realtime_toolkit.verify.tokens import claims

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.access import Access
    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.people import World
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Table


class Leaders:
    def __init__(
        self, connection: Connection, belonging: Belonging, world: World, access: Access, config: Config
    ) -> None:
        self._connection = connection
        self._belonging = belonging
        self._world = world
        self._access = access
        self._config = config

    def read(self, table: Table) -> bool:
        """Whether any of them can read a row of Alice's."""
        return any(self._may(table, person, Whose.OWN, Command.SELECT) for person in self._all(table))

    def strange(self, table: Table) -> Iterator[Cell]:
        """What the admin of one tenant can do to another's rows; an admin of everything may be meant to."""
        if not self._carol_leads_a_tenant():
            return
        for command in (Command.SELECT, Command.UPDATE, Command.DELETE):
            if self._may(table, self._carol(), Whose.OTHER_TENANT, command):
                yield Cell(table.name, "authenticated", command, Whose.OTHER_TENANT, Result(Answer.ALLOW))

    def _carol_leads_a_tenant(self) -> bool:
        """Her role is one in a tenant, and no claim gives her another."""
        leading = self._world.leading
        return bool(leading) and leading <= self._belonging.shared and not self._belonging.privileges

    def _all(self, table: Table) -> Iterator[Actor]:
        for right in rights_asked_for(table.policies):
            told = claims(Who.ALICE, self._world, self._belonging, self._config, (right,))
            yield Actor("authenticated", told)
        if Who.CAROL in self._world.users:
            yield self._carol()

    def _carol(self) -> Actor:
        return Actor("authenticated", claims(Who.CAROL, self._world, self._belonging, self._config))

    def _may(self, table: Table, person: Actor, whose: Whose, command: Command) -> bool:
        probe = self._access.probe(table, whose, command, person.role)
        if probe is None:
            return False
        answer = attempt(self._connection, person, probe.statement, before=probe.before).answer
        return answer is Answer.ALLOW
