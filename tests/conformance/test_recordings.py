"""Every recording again: the same requests in, the same frames out, in the fast pace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from realtime_toolkit.stack.realtime.limits import Limits
from realtime_toolkit.stack.realtime.pace import Pace
from tests.conformance.player import LONGEST, Player
from tests.conformance.recording import FOLDER, Recording, names

if TYPE_CHECKING:
    from tests.conformance.harness import Harness, Served

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recordings in {FOLDER}")

NOT_PLAYED = {
    "all_db_connections_killed": "one stream recovers where the genuine server has two: test_outages.py",
    "cdc_down": "needs the database stopped: test_outages.py",
    "postgres_changes_rate_limit": "only 3 of 12,000 frames were kept: test_limits.py",
    "postgres_restart": "needs the database restarted: test_outages.py",
    "rate_limit_messages": "only 5 of 480 broadcasts were kept: test_limits.py",
}
RACES = {
    "presence_disconnect_v1": "a join and a track of the same millisecond: a diff came before the state that has it",
    "private_channel_read_only": "a push and an SQL statement of the same millisecond",
}
"""Recordings of which two events of the same moment may come in either order; all else must be equal."""
TIMED = {"cold_start": 0.05, "heartbeat_missing": 0.02}
"""Recordings that are about time, and how much shorter all of theirs is."""
ON_ITS_OWN_CLOCK = {"too_many_joins"}
"""Recordings of a rate: the server measures it by the recording's time, and nobody waits."""
OPTIONS: dict[str, dict[str, Any]] = {
    "access_token_refresh_mid_connection": {"pace": Pace(resubscribe=(0.15, 0.15))},
    "cold_start": {"pace": Pace(first_subscription=(1.4 * TIMED["cold_start"],) * 2)},
    "heartbeat_missing": {"limits": Limits(idle_timeout=60 * TIMED["heartbeat_missing"])},
    "publication_add_table_while_running": {"pace": Pace(publication_check=1.0)},
}
"""Where a recording shows the server waiting, it waits here too, as much shorter as the pauses are."""


@pytest.mark.parametrize("name", [name for name in names() if name not in NOT_PLAYED])
async def test_the_same_frames(name: str, harness: Harness) -> None:
    recording = Recording.load(name)
    if name == "types_scalar" and not await _has_xml(harness.admin_url):
        recording = recording.replace("x xml", "x text").replace(
            '\\"type\\": \\"xml\\"', '\\"type\\": \\"text\\"'
        )
    if name == "presence_and_user_limits":  # before: presence of eight clients at once, in any order
        recording = recording.after(15_060)
    async with harness.server(recording.note["schema_sql"], **OPTIONS.get(name, {})) as server:
        differences = await _player(recording, server).play()
    assert not differences, "\n".join(differences)


def _player(recording: Recording, server: Served) -> Player:
    def tell_time(seconds: float) -> None:
        if recording.name in ON_ITS_OWN_CLOCK:
            server.realtime.server.clock = lambda: seconds

    raises = recording.name == "rls_policy_raises"  # what is committed soon after is lost
    return Player(
        recording,
        server.base,
        server.dsn,
        server.secret,
        server.configure,
        keep_time=TIMED.get(recording.name),
        tell_time=tell_time,
        longest=0.15 if raises else LONGEST,
        races=recording.name in RACES,
    )


async def _has_xml(admin_url: str) -> bool:
    async with await psycopg.AsyncConnection.connect(admin_url) as connection:
        try:
            await connection.execute("select '<a/>'::xml")
        except psycopg.errors.FeatureNotSupported:
            return False
    return True
