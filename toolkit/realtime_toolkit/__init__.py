"""Streamed database changes that arrive through Supabase Realtime, and the proof that they did.

::

    tokens ─▶ write ─▶ store ─▶ Postgres rows ─▶ WAL + publication
                                  (supabase/migrations)      │
                                     wal ◀───────────────────┘   local; in production Supabase Realtime
                                      ▼
                                 stack.realtime ══ phoenix ══ follow ─▶ replica ─▶ prove ─▶ Verdict
                                                                ▲                    ▲
                                                          sync (recovery)      digest (truth)

    migrate puts the schema there; verify watches the arrow "row ─▶ who receives it"

Write with :class:`ThrottledMessageUpdater`, :func:`run_task`, :func:`stream_text` or a :class:`Worker`, read with
:class:`Listener`, prove with :func:`reconcile` and :func:`watch`. :class:`LocalStack` is a local Supabase for
development and tests. Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realtime_toolkit.errors import (
        ConfigError,
        ContentMismatch,
        GaveUp,
        IllegalTransition,
        InputError,
        MigrationError,
        NotFound,
        PortInUse,
        ProtocolError,
        SchemaError,
        StackError,
        StaleAttempt,
        StoreClosed,
        StoreError,
        StoreUnavailable,
        ToolkitError,
        Unauthorized,
        Unreachable,
    )
    from realtime_toolkit.events import (
        Event,
        Lost,
        Recovered,
        Resynced,
        RowChanged,
        State,
        StateChanged,
        TextAppended,
        TextReset,
    )
    from realtime_toolkit.follow.listener import Listener, Stats
    from realtime_toolkit.follow.session import Timing
    from realtime_toolkit.model import Change, ChangeType, RowRef, Scope, Status, Verdict, VerdictKind
    from realtime_toolkit.prove.reconcile import Lags, reconcile, watch
    from realtime_toolkit.replica.replica import Replica
    from realtime_toolkit.settings import Settings, mint_token
    from realtime_toolkit.stack import LocalStack
    from realtime_toolkit.store import PostgresStore, RestStore
    from realtime_toolkit.write.agent import Outcome, run_task, stream_text
    from realtime_toolkit.write.updater import ThrottledMessageUpdater
    from realtime_toolkit.write.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "Change",
    "ChangeType",
    "ConfigError",
    "ContentMismatch",
    "Event",
    "GaveUp",
    "IllegalTransition",
    "InputError",
    "Lags",
    "Listener",
    "LocalStack",
    "Lost",
    "MigrationError",
    "NotFound",
    "Outcome",
    "PortInUse",
    "PostgresStore",
    "ProtocolError",
    "Recovered",
    "Replica",
    "RestStore",
    "Resynced",
    "RowChanged",
    "RowRef",
    "SchemaError",
    "Scope",
    "Settings",
    "StackError",
    "StaleAttempt",
    "State",
    "StateChanged",
    "Stats",
    "Status",
    "StoreClosed",
    "StoreError",
    "StoreUnavailable",
    "TextAppended",
    "TextReset",
    "ThrottledMessageUpdater",
    "Timing",
    "ToolkitError",
    "Unauthorized",
    "Unreachable",
    "Verdict",
    "VerdictKind",
    "Worker",
    "__version__",
    "mint_token",
    "reconcile",
    "run_task",
    "stream_text",
    "watch",
]

_HOME = {
    "errors": (
        "ConfigError",
        "ContentMismatch",
        "GaveUp",
        "IllegalTransition",
        "InputError",
        "MigrationError",
        "NotFound",
        "PortInUse",
        "ProtocolError",
        "SchemaError",
        "StackError",
        "StaleAttempt",
        "StoreClosed",
        "StoreError",
        "StoreUnavailable",
        "ToolkitError",
        "Unauthorized",
        "Unreachable",
    ),
    "events": (
        "Event",
        "Lost",
        "Recovered",
        "Resynced",
        "RowChanged",
        "State",
        "StateChanged",
        "TextAppended",
        "TextReset",
    ),
    "follow.listener": ("Listener", "Stats"),
    "follow.session": ("Timing",),
    "model": ("Change", "ChangeType", "RowRef", "Scope", "Status", "Verdict", "VerdictKind"),
    "prove.reconcile": ("Lags", "reconcile", "watch"),
    "replica.replica": ("Replica",),
    "settings": ("Settings", "mint_token"),
    "stack": ("LocalStack",),
    "store": ("PostgresStore", "RestStore"),
    "write.agent": ("Outcome", "run_task", "stream_text"),
    "write.updater": ("ThrottledMessageUpdater",),
    "write.worker": ("Worker",),
}

_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'realtime_toolkit' has no attribute {name!r}")
    value = getattr(import_module(f"realtime_toolkit.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
