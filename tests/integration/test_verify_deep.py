"""The parts that go deeper: the leak hunt, pgTAP, what belongs to whom, and 200 tables at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import verify
from realtime_toolkit.bench.verify import MANY_TABLES
from realtime_toolkit.verify import Config, Outcome, Ownership

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1]
CORRECT = TESTS / "correct"

SHARED_LINKS = """
create type public.visibility as enum ('private', 'team', 'link');
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.team_members (
  team_id uuid not null references public.teams, user_id uuid not null references auth.users, primary key (user_id, team_id)
);
create table public.docs (
  team_id uuid not null references public.teams, id bigint generated always as identity, title text not null,
  visibility public.visibility not null default 'private', archived_at timestamptz, primary key (team_id, id)
);
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.docs enable row level security;
create policy own on public.team_members for select to authenticated using (user_id = (select auth.uid()));
create policy members on public.docs for select to authenticated using (
  team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))
  or visibility = 'link' and archived_at is not null
);
alter publication supabase_realtime add table public.docs;
"""


def test_a_leak_comes_back_shrunk_and_runnable(project: Callable[..., str]) -> None:
    url = project(SHARED_LINKS)
    assert not verify.verify(url).findings, "the seeded rows do not show it; that is what the hunt is for"
    (finding,) = verify.verify(url, checks=["leaks"]).findings
    assert (finding.code, finding.object) == ("LEK001", "public.docs")
    script = finding.script
    assert script.count("insert into") == 2, "the document and its team, and nobody else"
    assert script.count("update ") == 2, "archived, and shared by link"
    *before, reach, _rollback = script.split(";\n")
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in before:
            connection.execute(statement.encode())
        assert len(connection.execute(reach.encode()).fetchall()) == 1


@pytest.mark.parametrize("name", ["membership_table", "app_metadata_claims"])
def test_the_hunt_finds_nothing_where_nothing_leaks(project: Callable[..., str], name: str) -> None:
    (result,) = verify.verify(project(CORRECT / f"{name}.sql"), checks=["leaks"]).checks
    assert result.outcome is Outcome.PASS


# What a test file calls of pgTAP, which the embedded Postgres does not carry.
PGTAP = """
create function extensions.plan(integer) returns text language sql as 'select ''1..'' || $1';
create function extensions."is"(text, text, text) returns text language sql as
  'select case when $1 is not distinct from $2 then ''ok - '' else ''not ok - '' || $1 || '' is not '' || $2 || '': '' end || $3';
create function extensions.finish() returns setof text language sql as 'select ''''::text where false';
"""


def tap(url: str, script: str) -> list[str]:
    lines = []
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(script.replace("create extension", "-- create extension").encode())
        while True:
            if cursor.description:
                lines += [str(row[0]) for row in cursor.fetchall()]
            if not cursor.nextset():
                return lines


@pytest.mark.parametrize("name", ["tenant_column", "soft_delete"])
def test_the_pgtap_file_stands_alone(project: Callable[..., str], name: str) -> None:
    schema = CORRECT / f"{name}.sql"
    script = verify.pgtap(project(schema))
    there = project(schema, PGTAP)  # another database: its rows come from the script
    lines = tap(there, script)
    tests = [line for line in lines if line.startswith(("ok", "not ok"))]
    assert f"1..{len(tests)}" in lines
    assert not [line for line in tests if not line.startswith("ok")]
    with psycopg.connect(there) as connection:
        assert connection.execute("select count(*) from auth.users").fetchone() == (0,)


def test_the_pgtap_file_fails_where_access_differs(project: Callable[..., str]) -> None:
    schema = CORRECT / "tenant_column.sql"
    script = verify.pgtap(project(schema))
    there = project(schema, PGTAP, "create policy everyone on public.orders for select to anon using (true)")
    failed = [line for line in tap(there, script) if line.startswith("not ok")]
    assert failed
    assert all("anon cannot select a row of public.orders" in line for line in failed)


HIDDEN_OWNER = """
create table public.boxes (id integer primary key, label text not null);
alter table public.boxes enable row level security;
create function public.may_open(label text) returns boolean language sql stable security definer set search_path = '' as $$
  select label = md5(auth.uid()::text)
$$;
create policy own on public.boxes for select to authenticated using ((select public.may_open(label)));
alter publication supabase_realtime add table public.boxes;
"""


def test_ownership_that_cannot_be_seen_is_undecided_not_passed(project: Callable[..., str]) -> None:
    report = verify.verify(project(HIDDEN_OWNER), checks=["access"])
    assert {c.outcome for c in report.checks} == {Outcome.UNDECIDED}
    assert any("verify.toml" in c.reason for c in report.checks)
    assert report.ok()
    assert not report.ok(strict=True)


def test_ownership_that_is_told(project: Callable[..., str]) -> None:
    url = project("""
create table public.lockers (id integer primary key, holder uuid not null);
create index on public.lockers (holder);
alter table public.lockers replica identity full;
alter table public.lockers enable row level security;
create function public.is_me(whoever uuid) returns boolean language plpgsql stable set search_path = '' as $$
declare me uuid;
begin
  me := auth.uid();
  return whoever is not distinct from me;
end $$;
create policy own on public.lockers for select to authenticated using (public.is_me(holder));
alter publication supabase_realtime add table public.lockers;
""")
    config = Config(ownership={"public.lockers": Ownership(owner="holder")})
    report = verify.verify(url, config=config, checks=["access"])
    assert {c.outcome for c in report.checks} == {Outcome.PASS}
    assert report.matrices is not None
    line = "access   public.lockers  authenticated  select  own=allow other-tenant=deny"
    assert line in verify.snapshot_text(report.matrices)


def test_200_tables_with_5_policies_each(project: Callable[..., str]) -> None:
    url = project(MANY_TABLES)
    groups = ["publication", "rls", "channels", "updated_at", "tracking", "server"]
    report = verify.verify(url, checks=[*groups[:3], "UPD00", *groups[4:]])
    assert not report.findings


def test_the_dynamic_checks_cope_with_unusual_columns(project: Callable[..., str]) -> None:
    url = project("""
create type public.mood as enum ('sad', 'fine');
create domain public.sku as text check (value ~ '^[A-Z]{3}-[0-9]{4}$');
create type public.size as (w integer, h integer);
create table public.things (
  owner_id uuid not null references auth.users, sku public.sku not null, mood public.mood not null, moods public.mood[] not null,
  at tstzrange not null, ip inet not null, mac macaddr not null, blob_hash bit(8) not null, size public.size not null,
  email text not null check (email like '%@%'), percent integer not null check (percent between 40 and 60),
  starts date not null, ends date not null, check (ends > starts), j jsonb not null check (jsonb_typeof(j) = 'object'),
  code char(4) not null, t time not null, i interval not null, x xml, money numeric(6, 2) not null, vec point not null,
  serial_no bigserial, total integer generated always as (percent * 2) stored, self uuid, unique (sku), unique (email),
  primary key (owner_id, sku)
);
alter table public.things enable row level security;
create policy own on public.things for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.things;
""")
    report = verify.verify(url, checks=["access", "delivery"])
    assert {c.outcome for c in report.checks} == {Outcome.PASS}, [c.reason for c in report.checks]


def test_findings_of_pgrls_join_the_report(project: Callable[..., str]) -> None:
    pytest.importorskip("pgrls", reason="pgrls is not installed (extra lint)")
    report = verify.verify(project(TESTS / "flaws" / "RLS010_or_true.sql"))
    codes = {finding.code for finding in report.findings}
    assert "RLS010" in codes
    assert "pgrls-SEC011" in codes
    assert {finding.object for finding in report.findings if finding.code.startswith("pgrls")} == {
        "public.salaries"
    }


def test_without_pgrls_its_check_is_skipped_only_where_asked_for(
    project: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_toolkit.verify.linting.find_spec", lambda name: None)
    url = project(CORRECT / "tenant_column.sql")
    assert not [check for check in verify.verify(url).checks if check.rule.group == "lint"]
    (check,) = verify.verify(url, checks=["lint"]).checks
    assert (check.outcome, "pip install" in check.reason) == (Outcome.SKIPPED, True)
