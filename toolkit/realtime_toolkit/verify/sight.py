"""What the readers of published tables miss: every probe of it, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_toolkit.verify.blind import barred, blind
from realtime_toolkit.verify.missed import Missed
from realtime_toolkit.verify.moving import gone
from realtime_toolkit.verify.poison import poison
from realtime_toolkit.verify.reading import Reading
from realtime_toolkit.verify.unlike import unlike

if TYPE_CHECKING:
    from realtime_toolkit.verify.channels import Channels
    from realtime_toolkit.verify.stage import Stage


def missed(stage: Stage, channels: Channels | None) -> Missed | None:
    """``None`` where nothing is published, so that nobody can miss anything."""
    tables, publication = stage.model.published, stage.model.publication
    if not tables or publication is None:
        return None
    reading = Reading(stage)
    moved = tables if publication.update else ()
    return Missed(
        tuple(blind(reading, tables)),
        tuple(barred(reading, tables)),
        tuple(poison(reading, tables)),
        tuple(gone(reading, moved, channels)),
        tuple(unlike(reading, tables)),
        not reading.unbound,
    )
