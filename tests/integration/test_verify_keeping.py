"""What verify says of updated_at and version where the catalogue of flaws cannot tell: designs, and what cannot be tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit.verify import Outcome, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.verify import Report

TABLE = """
create table public.boards (
  owner_id uuid not null default auth.uid(),
  id uuid not null default gen_random_uuid(),
  title text not null default '',
  revision bigint not null default 1,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create function public.stamp() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  new.revision := coalesce(old.revision, 0) + 1;
  return new;
end $$;
create trigger stamp before insert or update on public.boards for each row execute function public.stamp();
alter table public.boards enable row level security;
create policy own on public.boards for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.boards;
"""
ASKS_FOR_THE_NEXT = """
create function public.stamp_insert() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  if tg_op = 'INSERT' then new.revision := 1; end if;
  return new;
end $$;
drop trigger stamp on public.boards;
create trigger stamp before insert or update on public.boards for each row execute function public.stamp_insert();
create function public.asked() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.revision <> old.revision + 1 then
    {refused}
  end if;
  return new;
end $$;
create trigger a_asked before update on public.boards for each row execute function public.asked();
"""


def judged(project: Callable[..., str], *statements: str) -> Report:
    url = project()
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (TABLE, *statements):
            connection.execute(statement.encode())
    return verify(url, checks=["UPD"])


@pytest.mark.parametrize(
    "design",
    [
        pytest.param("", id="stamped"),
        pytest.param(
            "create trigger a_same before update on public.boards "
            "for each row execute function suppress_redundant_updates_trigger()",
            id="no change is no update",
        ),
        pytest.param(
            ASKS_FOR_THE_NEXT.format(refused="raise exception 'changed meanwhile' using errcode = 'PT409';"),
            id="writers send the next revision",
        ),
        pytest.param(
            "create or replace function public.stamp() returns trigger language plpgsql set search_path = '' as $$ begin "
            "if current_setting('request.jwt.claims', true)::json ->> 'role' = 'service_role' then return new; end if; "
            "new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); "
            "new.revision := coalesce(old.revision, 0) + 1; return new; end $$",
            id="imports keep their times",
        ),
        pytest.param(
            "drop trigger stamp on public.boards; alter table public.boards drop revision; "
            "create or replace function public.stamp() returns trigger language plpgsql set search_path = '' as $$ begin "
            "if pg_trigger_depth() = 1 then update public.boards set updated_at = clock_timestamp() where id = new.id; end if; "
            "return null; end $$; "
            "create trigger stamp after insert or update on public.boards for each row execute function public.stamp()",
            id="stamped afterwards",
        ),
        pytest.param(
            ASKS_FOR_THE_NEXT.format(refused="return null;  -- late"), id="late writers are ignored"
        ),
        pytest.param(
            "drop trigger stamp on public.boards; alter table public.boards drop updated_at; "
            "drop policy own on public.boards; "
            "create policy own on public.boards for select to authenticated using (owner_id = (select auth.uid())); "
            "create rule written_once as on update to public.boards do instead nothing",
            id="written once",
        ),
        pytest.param(
            "drop trigger stamp on public.boards; "
            "alter table public.boards drop updated_at; "
            "revoke update on public.boards from authenticated; grant select on public.boards to authenticated",
            id="a revision that only the server writes",
        ),
    ],
)
def test_a_design_is_no_flaw(project: Callable[..., str], design: str) -> None:
    report = judged(project, *([design] if design else []))
    assert not report.findings
    assert {check.outcome for check in report.checks} == {Outcome.PASS}


def test_what_stays_for_one_role_alone_is_told_of_it(project: Callable[..., str]) -> None:
    report = judged(
        project,
        "create function public.back() returns trigger language plpgsql set search_path = '' as $$ begin "
        "if current_user = 'authenticated' then new.revision := old.revision; end if; return new; end $$; "
        "create trigger zz_back before update on public.boards for each row execute function public.back()",
    )
    assert [(f.code, f.object) for f in report.findings] == [("UPD014", "public.boards.revision")]
    assert "as authenticated" in report.findings[0].detail


def test_milliseconds_are_too_few(project: Callable[..., str]) -> None:
    report = judged(
        project,
        "create function public.cut() returns trigger language plpgsql set search_path = '' as $$ begin "
        "new.updated_at := date_trunc('milliseconds', new.updated_at); return new; end $$; "
        "create trigger zz_cut before insert or update on public.boards for each row execute function public.cut()",
    )
    assert [f.code for f in report.findings] == ["UPD010"]
    assert "whole seconds or milliseconds" in report.findings[0].detail


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("alter table public.boards add check (title ~ '(?=x)y')", "no row could be made"),
        (
            "create function public.no() returns trigger language plpgsql as $$ begin raise 'closed'; end $$; "
            "create trigger no before update on public.boards for each row execute function public.no()",
            "no change of a row could be made: P0001",
        ),
    ],
)
def test_what_cannot_be_tried_is_no_pass(project: Callable[..., str], obstacle: str, reason: str) -> None:
    report = judged(project, obstacle)
    assert not report.findings
    undecided = [check for check in report.checks if check.rule.code >= "UPD010"]
    assert {check.outcome for check in undecided} == {Outcome.UNDECIDED}
    assert reason in undecided[0].reason


def test_a_name_that_has_to_be_quoted_is_quoted(project: Callable[..., str]) -> None:
    url = project()
    script = TABLE.replace("public.boards", 'public."My Boards"').replace("updated_at", '"updatedAt"')
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script.encode())
        connection.execute(
            b"create or replace function public.stamp() returns trigger language plpgsql set search_path = '' as $$ begin "
            b"new.\"updatedAt\" := clock_timestamp(); if tg_op = 'INSERT' then new.revision := 1; end if; return new; end $$"
        )
    (finding,) = verify(url, checks=["UPD01"]).findings
    assert (finding.code, finding.object) == ("UPD014", 'public."My Boards".revision')
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(finding.fix.encode())
    assert not verify(url, checks=["UPD01"]).findings
