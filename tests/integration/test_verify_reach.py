"""What verify tries: all that a client role can reach; what it says of what it did not try; what is accepted by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.verify import Config, Outcome, snapshot_text, verify, write_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ELSEWHERE = """
create schema ledger;
grant usage on schema ledger to authenticated;
create table ledger.entries (id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users, cents bigint not null);
grant select on ledger.entries to authenticated;
alter table ledger.entries enable row level security;
create policy read on ledger.entries for select to authenticated using ((select auth.uid()) is not null);
"""
OPEN = ("ACC001", "ledger.entries")


def test_a_table_that_is_not_published_is_tried(project: Callable[..., str]) -> None:
    report = verify(project(ELSEWHERE), checks=["access"])
    assert [(f.code, f.object) for f in report.findings] == [OPEN]
    assert "through policy read" in report.findings[0].detail
    assert report.matrices is not None
    assert not [line for line in snapshot_text(report.matrices).splitlines() if line.startswith("deliver")]


def test_a_schema_that_is_not_served_is_not_tried(project: Callable[..., str], tmp_path: Path) -> None:
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    config, url = tmp_path / "config.toml", project(ELSEWHERE)
    config.write_text('[api]\nschemas = ["public"]\n')
    (check, *_) = verify(url, checks=["access"], migrations=migrations).checks
    assert (check.outcome, check.reason) == (
        Outcome.SKIPPED,
        "there is no table that a client role can reach",
    )
    config.write_text('[api]\nschemas = ["public", "ledger"]\n')
    assert [(f.code, f.object) for f in verify(url, checks=["access"], migrations=migrations).findings] == [
        OPEN
    ]


def test_nothing_tried_is_no_pass(project: Callable[..., str]) -> None:
    report = verify(project(), checks=["access"])
    assert {check.outcome for check in report.checks} == {Outcome.SKIPPED}
    assert not report.ok(strict=True)


def test_what_is_accepted_is_known_and_no_failure(project: Callable[..., str], tmp_path: Path) -> None:
    url, snapshot = project(ELSEWHERE), tmp_path / "access.snapshot"
    accepted = Config(
        accepted={"ledger.entries": frozenset({"ACC001"}), "public.gone": frozenset({"ACC002"})}
    )
    report = verify(url, checks=["access"], config=accepted)
    assert report.ok()
    assert [(f.code, f.object) for f in report.known] == [OPEN]
    assert report.notes[-1] == "ACC002 is accepted on public.gone, and there is no such finding"
    write_snapshot(snapshot, report)
    with snapshot.open("a") as file:
        file.write("# accept ACC001 ledger.entries\n")
    assert verify(url, checks=["access"], snapshot=snapshot).ok()
    write_snapshot(snapshot, report)
    assert "# accept ACC001 ledger.entries\n" in snapshot.read_text(), "kept when it is written again"
    with pytest.raises(ConfigError, match="ACC999"):
        verify(url, config=Config(accepted={"ledger.entries": frozenset({"ACC999"})}))


NO_PARTITIONS = """
do $$ declare part regclass; begin
  for part in select inhrelid from pg_inherits where inhparent = 'realtime.messages'::regclass loop
    execute format('drop table %s', part);
  end loop;
end $$;
"""


def test_a_day_without_a_partition_is_said(project: Callable[..., str]) -> None:
    """Whoever may make one has private channels tried all the same; whoever may not has them undecided."""
    url = project(NO_PARTITIONS, ELSEWHERE)
    report = verify(url, checks=["private-channels"])
    said = [*report.notes, *(check.reason for check in report.checks)]
    assert any("realtime.messages has no partition for today" in text for text in said)


STAFF = """
create table public.desks (
  user_id uuid primary key references auth.users, role text not null check (role in ('clerk', 'reader'))
);
create table public.letters (
  user_id uuid not null references auth.users, id uuid not null default gen_random_uuid(), body text not null, primary key (user_id, id)
);
alter table public.desks enable row level security;
alter table public.letters enable row level security;
revoke insert, update, delete on public.desks from anon, authenticated;
create policy own on public.desks for select to authenticated using (user_id = (select auth.uid()));
create policy own_or_clerks on public.letters for select to authenticated using (
  user_id = (select auth.uid()) or exists (select from public.desks d where d.user_id = (select auth.uid()) and d.role = 'clerk')
);
"""


def test_whom_seeding_made_mighty_is_made_ordinary(project: Callable[..., str]) -> None:
    """The first value that the check takes would make a clerk of everybody who is seeded."""
    report = verify(project(STAFF), checks=["access"])
    assert not report.findings
    assert {check.outcome for check in report.checks} == {Outcome.PASS}
    assert report.matrices is not None
    line = "access   public.letters  authenticated  select  own=allow other-tenant=deny"
    assert line in snapshot_text(report.matrices)
