"""Rows can be made in whatever a schema asks for; where they cannot, it is said what refused them, and where to tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realtime_toolkit import verify
from realtime_toolkit.verify import Config, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1]
SEEDS = sorted((TESTS / "seeds").glob("*.sql"))


@pytest.mark.parametrize("schema", SEEDS, ids=lambda path: path.stem)
def test_nothing_is_undecided_for_want_of_rows(schema: Path, project: Callable[..., str]) -> None:
    report = verify.verify(project(schema), checks=["access", "delivery"])
    assert not report.findings
    assert not [(c.rule.code, c.reason) for c in report.of(Outcome.UNDECIDED)]


REFUSED = """
create table public.cases (id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users, code text not null);
create function public.guarded() returns trigger language plpgsql as $$
begin
  if md5(new.code) <> '0cc175b9c0f1b6a831c399e269772661' then raise exception 'no' using errcode = '45000'; end if;
  return new;
end $$;
create trigger guarded before insert on public.cases for each row execute function public.guarded();
create table public.steps (id uuid primary key default gen_random_uuid(), case_id uuid not null references public.cases);
alter table public.cases enable row level security;
alter table public.steps enable row level security;
create policy own on public.cases for select to authenticated using (user_id = (select auth.uid()));
create policy own on public.steps for select to authenticated
  using (exists (select from public.cases c where c.id = case_id and c.user_id = (select auth.uid())));
"""


def test_what_refuses_a_row_is_named_and_can_be_told(project: Callable[..., str]) -> None:
    url = project(REFUSED)
    report = verify.verify(url, checks=["ACC001"])
    (check,) = report.checks
    assert check.outcome is Outcome.UNDECIDED
    assert "public.cases: no row could be made: 45000 in function guarded()" in check.reason
    assert 'supabase/verify.toml: [tables."public.cases"] values' in check.reason
    assert "public.steps: no row could be made: it needs a row of public.cases: 45000" in check.reason
    told = verify.verify(url, checks=["ACC001"], config=Config(values={"public.cases": {"code": "a"}}))
    assert [c.outcome for c in told.checks] == [Outcome.PASS]


INVITED = """
create table public.profiles (id uuid primary key references auth.users on delete cascade);
alter table public.profiles enable row level security;
create policy own on public.profiles for select to authenticated using (id = (select auth.uid()));
create function public.joined() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  if md5(new.raw_user_meta_data ->> 'invitation') <> '0cc175b9c0f1b6a831c399e269772661' then
    raise exception 'invite only' using errcode = '45001';
  end if;
  insert into public.profiles values (new.id);
  return new;
end $$;
create trigger joined before insert on auth.users for each row execute function public.joined();
alter table public.profiles drop constraint profiles_id_fkey;
"""


def test_users_that_are_refused_are_the_reason_and_can_be_told(project: Callable[..., str]) -> None:
    url = project(
        INVITED,
        "alter table public.profiles add foreign key (id) references auth.users deferrable initially deferred",
    )
    (check,) = verify.verify(url, checks=["ACC001"]).checks
    assert check.outcome is Outcome.UNDECIDED
    assert (
        "it needs a row of auth.users: no user could be made: 45001 in function public.joined()"
        in check.reason
    )
    told = verify.verify(url, checks=["ACC001"], config=Config(users={"user_metadata": {"invitation": "a"}}))
    assert [c.outcome for c in told.checks] == [Outcome.PASS], told.checks


ADMINS = """
create table public.orgs (id uuid primary key default gen_random_uuid(), name text not null);
create table public.staff (
  org_id uuid not null references public.orgs, user_id uuid not null references auth.users,
  role text not null check (role in ('owner', 'admin', 'member')), primary key (org_id, user_id)
);
create table public.invoices (id uuid primary key default gen_random_uuid(), org_id uuid not null references public.orgs);
alter table public.orgs enable row level security;
alter table public.staff enable row level security;
alter table public.invoices enable row level security;
create policy own on public.staff for select to authenticated using (user_id = (select auth.uid()));
create policy owners on public.invoices for select to authenticated using (exists (
  select from public.staff s where {wall} s.user_id = (select auth.uid()) and s.role = 'owner'));
"""


@pytest.mark.parametrize(
    ("wall", "found"), [("s.org_id = invoices.org_id and", []), ("", ["public.invoices"])]
)
def test_what_only_an_admin_reads_is_tried_by_one(
    project: Callable[..., str], wall: str, found: list[str]
) -> None:
    report = verify.verify(project(ADMINS.format(wall=wall)), checks=["ACC001"])
    assert [finding.object for finding in report.findings] == found
    assert not report.of(Outcome.UNDECIDED)
    assert report.matrices is not None
    own = "access   public.invoices  authenticated  select  own=deny"
    assert own in verify.snapshot_text(report.matrices), "Alice is an ordinary member"


def test_the_hunt_within_no_time_is_no_pass(project: Callable[..., str]) -> None:
    url = project(TESTS / "correct" / "membership_table.sql")
    (late,) = verify.verify(url, checks=["leaks"], leaks=1e-9).checks
    assert (late.outcome, "--leaks" in late.reason) == (Outcome.UNDECIDED, True)
    (off,) = verify.verify(url, checks=["leaks"], leaks=0).checks
    assert off.outcome is Outcome.SKIPPED
    assert "LEK001" not in {check.rule.code for check in verify.verify(url, leaks=0).checks}
    (done,) = verify.verify(url, checks=["leaks"]).checks
    assert done.outcome is Outcome.PASS
    assert "changes of rows were tried" in done.reason


FLAGGED = """
create table public.pages (
  id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users, {flag}
);
create index on public.pages (user_id);
alter table public.pages enable row level security;
create policy own on public.pages for select to authenticated using (user_id = (select auth.uid()) or {condition});
"""


@pytest.mark.parametrize(
    ("flag", "condition", "found"),
    [
        ("is_public boolean not null default false", "is_public", False),
        ("status text not null default 'draft' check (status in ('draft', 'published'))", "status = 'published'", False),
        ("archived_at timestamptz", "archived_at is not null", True),
    ],
)  # fmt: skip
def test_a_hunt_by_default_tells_leaks_from_sharing(
    project: Callable[..., str], flag: str, condition: str, found: bool
) -> None:
    report = verify.verify(project(FLAGGED.format(flag=flag, condition=condition)))
    assert [f.object for f in report.findings if f.code == "LEK001"] == ["public.pages"] * found
