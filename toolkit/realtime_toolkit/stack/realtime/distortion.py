"""What faults leave of the changes that come from the WAL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from realtime_toolkit.stack.realtime.rows import truncate

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.stack.realtime.faults import Faults
    from realtime_toolkit.stack.realtime.rows import Row
    from realtime_toolkit.wal import decoder as wal


class Distortion:
    """``lose`` is told why the server shall lose what comes in the next moments."""

    def __init__(self, faults: Faults, lose: Callable[[str], None]) -> None:
        self._faults = faults
        self._lose = lose
        self._transaction = (0, 0)
        self._cutting: int | None = None

    @property
    def active(self) -> bool:
        """Whether there is anything to do: without faults it costs nothing."""
        return self._faults.armed or self._cutting is not None

    async def batch(self, changes: list[wal.RowChange]) -> list[wal.RowChange]:
        if self._faults.strike("batch-lost"):
            self._lose("a fault")
        if late := self._faults.strike("delay"):
            await asyncio.sleep(late.number)
        if any(change.kind == "DELETE" for change in changes) and self._faults.strike("delete-lost"):
            changes = [change for change in changes if change.kind != "DELETE"]
        if changes and self._faults.strike("duplicate"):
            changes = [changes[0], *changes]
        return self._cut(changes)

    def _cut(self, changes: list[wal.RowChange]) -> list[wal.RowChange]:
        """Without what a fault cuts off a transaction, in this batch and in those to come."""
        kept = []
        for change in changes:
            if change.xid != self._transaction[0]:
                self._transaction = (change.xid, 0)
            self._transaction = (change.xid, self._transaction[1] + 1)
            fault = self._faults.waiting("cut-transaction")
            if fault is not None and self._transaction[1] > fault.number:
                self._faults.strike("cut-transaction")
                self._cutting = change.xid
            if change.xid != self._cutting:
                kept.append(change)
        return kept

    def rows(self, batch: list[Row]) -> None:
        """The first change of the batch, rendered, without some of its values."""
        if self._faults.armed and batch and (fault := self._faults.strike("truncated")):
            batch[0].error = truncate(batch[0], str(fault.argument))
