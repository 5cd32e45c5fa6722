"""Streamed database changes that arrive through Supabase Realtime, and the proof that they did.

::

    tokens ─▶ agent ─▶ updater ─▶ store ─▶ Postgres rows ─▶ WAL + publication
                                             (supabase/migrations)      │
                                                stack.wal ◀─────────────┘   local; in production Supabase Realtime
                                                    ▼
                                             stack.realtime ══ phoenix ══ listener ─▶ replica ─▶ reconcile ─▶ Verdict
                                                                             ▲                      ▲
                                                                       sync (recovery)        digest (truth)

Write with :class:`ThrottledMessageUpdater`, :func:`run_task` or :func:`stream_text`, read with
:class:`Listener`, prove with :func:`realtime_toolkit.prove.reconcile.reconcile`. :class:`LocalStack` is a local Supabase for
development and tests. Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realtime_toolkit.errors import ToolkitError
    from realtime_toolkit.follow.listener import Listener
    from realtime_toolkit.model import Scope, Status, Verdict
    from realtime_toolkit.replica.replica import Replica
    from realtime_toolkit.settings import Settings
    from realtime_toolkit.stack import LocalStack
    from realtime_toolkit.store import PostgresStore, RestStore
    from realtime_toolkit.write.agent import Worker, run_task, stream_text
    from realtime_toolkit.write.updater import ThrottledMessageUpdater

__all__ = [
    "Listener",
    "LocalStack",
    "PostgresStore",
    "Replica",
    "RestStore",
    "Scope",
    "Settings",
    "Status",
    "ThrottledMessageUpdater",
    "ToolkitError",
    "Verdict",
    "Worker",
    "run_task",
    "stream_text",
]

_HOME = {
    "agent": ("Worker", "run_task", "stream_text"),
    "errors": ("ToolkitError",),
    "listener": ("Listener",),
    "model": ("Scope", "Status", "Verdict"),
    "replica": ("Replica",),
    "settings": ("Settings",),
    "stack": ("LocalStack",),
    "store": ("PostgresStore", "RestStore"),
    "updater": ("ThrottledMessageUpdater",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"realtime_toolkit.{module}"), name)
    raise AttributeError(f"module 'realtime_toolkit' has no attribute {name!r}")
