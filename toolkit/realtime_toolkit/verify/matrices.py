"""What the dynamic checks measure, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime_toolkit.verify.trials import Called, Walls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime_toolkit.verify.access import Cell, Command
    from realtime_toolkit.verify.channels import ChannelCell
    from realtime_toolkit.verify.deeds import Wrong
    from realtime_toolkit.verify.delivery import Delivery
    from realtime_toolkit.verify.kept import Keeping
    from realtime_toolkit.verify.missed import Missed
    from realtime_toolkit.verify.partition import Partition
    from realtime_toolkit.verify.sent import Broadcasts
    from realtime_toolkit.verify.tables import Policy, Table


@dataclass(frozen=True, slots=True)
class Matrices:
    tables: Mapping[str, Table]
    """All of the user's own, published or not."""
    access: tuple[Cell, ...]
    deliveries: tuple[Delivery, ...]
    channels: tuple[ChannelCell, ...]
    keeping: Keeping
    governed: frozenset[tuple[str, str, Command]]
    """``(table, role, command)`` where the state of a stranger's row decides whether it is reached: a flag that
    shares it, say. Then that is a design and no leak."""
    failed: Mapping[str, str]
    """Table → why nothing is proven about it."""
    moving: tuple[str, ...] = ()
    """Sequences whose numbers stay taken (:mod:`realtime_toolkit.verify.sequences`)."""
    ways: Mapping[tuple[str, str, Command], tuple[str, ...]] = field(default_factory=dict)
    """``(table, role, command)`` by which a stranger's row is reached → the policies that let it happen."""
    named: frozenset[str] = frozenset()
    """Tables whose rows name somebody whom they belong to: a user, a tenant, another row that is somebody's."""
    welcoming: frozenset[str] = frozenset()
    """Tables of which somebody just signed up reads a stranger's row."""
    wrongs: tuple[Wrong, ...] = ()
    """What can be written and should not."""
    partition: Partition | None = None
    """Today's of ``realtime.messages``, where it was not there."""
    broadcasts: Broadcasts | None = None
    """``None`` where there are no private channels."""
    channel_policies: tuple[Policy, ...] = ()
    called: Called = field(default_factory=Called)
    """What clients can do through functions."""
    walls: Walls = field(default_factory=Walls)
    """Policies that open what others keep."""
    disclosed: tuple[str, ...] = ()
    """Tables that everybody reads, with a secret in a row."""
    missed: Missed | None = None
    """``None`` where nothing is published."""

    @property
    def unheard(self) -> str:
        """Why no message could be stored for the probes, so that none was heard; empty where they could be."""
        if self.partition is None or not self.partition.refused:
            return ""
        return (
            "realtime.messages has no partition for today, and none could be made for the probes "
            f"({self.partition.refused}): the Realtime server makes one when somebody joins"
        )
