"""Streamed database changes that arrive through Supabase Realtime, and the proof that they did.

::

    tokens ─▶ agent ─▶ updater ─▶ store ─▶ Postgres rows ─▶ WAL + publication
                                             (supabase/migrations)      │
                                                stack.wal ◀─────────────┘   local; in production Supabase Realtime
                                                    ▼
                                             stack.realtime ══ phoenix ══ listener ─▶ replica ─▶ reconcile ─▶ Verdict
                                                                             ▲                      ▲
                                                                       sync (recovery)        digest (truth)

Write with :class:`ThrottledMessageUpdater` or :func:`run_task`, read with :class:`Listener`, prove with
:func:`reconcile`. ``toolkit.stack`` is a local Supabase for development and tests.
"""
