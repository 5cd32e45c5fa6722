"""verify on this project's own schema: nothing found, nothing left behind, and every broken promise noticed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import migrate, verify
from realtime_toolkit.errors import ConfigError, InputError, Unreachable
from realtime_toolkit.verify import Finding, Outcome, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.stack import LocalStack

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "supabase" / "migrations"
TRACKED = "select public.track_table('public.notes', kind => 'owner', scope_column => 'owner_id')"
NOTES = """
create table public.notes (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null,
  body text not null default ''
);
create index on public.notes (owner_id);
alter table public.notes enable row level security;
create policy own on public.notes for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
"""


@pytest.fixture
def own(project: Callable[..., str]) -> str:
    """A database with this project's own migrations."""
    url = project()
    migrate.apply_all(url, MIGRATIONS)
    return url


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_nothing_is_found_undecided_or_skipped(own: str) -> None:
    report = verify.verify(own, migrations=MIGRATIONS, leaks=2)
    assert not report.findings
    assert not [(c.rule.code, c.reason) for c in report.checks if c.outcome is not Outcome.PASS]
    assert report.ok(strict=True)


def test_the_matrices_leave_nothing_behind(own: str) -> None:
    counts = (
        "select (select count(*) from auth.users), (select count(*) from public.conversations), "
        "(select count(*) from public.messages), (select count(*) from realtime.messages)"
    )
    with psycopg.connect(own) as connection:
        before = connection.execute(counts).fetchone()
    assert verify.verify(own).matrices is not None
    verify.verify(own, checks=["leaks"])
    with psycopg.connect(own) as connection:
        assert connection.execute(counts).fetchone() == before


def test_the_matrices_say_what_the_readme_promises(own: str) -> None:
    report = verify.verify(own)
    assert report.matrices is not None
    lines = verify.snapshot_text(report.matrices).splitlines()
    assert "access   public.messages  authenticated  select  own=allow other-tenant=deny" in lines
    assert "access   public.messages  anon  select  own=deny other-tenant=deny" in lines
    assert "deliver  public.messages  authenticated  DELETE  own=id other-tenant=id" in lines
    topic = "channel  conversation:{public.conversations.id}  authenticated  broadcast read"
    assert f"{topic}  own=allow other-tenant=deny" in lines


def test_no_identity_and_no_row_is_in_a_report(own: str) -> None:
    run(
        own,
        "insert into public.conversations (user_id, title) values (gen_random_uuid(), 'a whispered title')",
    )
    report = verify.verify(own, leaks=0)
    assert report.matrices is not None
    texts = [verify.render(report, form) for form in verify.FORMATS]
    texts.append(verify.snapshot_text(report.matrices))
    for text in texts:
        assert "whispered" not in text
        assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", text)


BROKEN_PROMISES = [
    "alter table public.notes disable trigger zz_realtime_toolkit_stamp",
    "drop trigger zz_realtime_toolkit_fixed on public.notes",
    "alter table public.notes alter column version drop not null",
    "alter table public.notes alter column changed_in drop default",
    "alter table public.notes replica identity default",
    "drop trigger zz_realtime_toolkit_stamp on public.notes; create trigger zz_realtime_toolkit_stamp "
    "before update of body on public.notes for each row execute function realtime_toolkit.stamp()",
]


@pytest.mark.parametrize("broken", BROKEN_PROMISES)
def test_a_tracked_table_that_breaks_its_promise(own: str, broken: str) -> None:
    run(own, *NOTES.split(";\n"), TRACKED)
    assert not verify.verify(own, leaks=0).findings
    run(own, broken)
    report = verify.verify(own, leaks=0)
    assert [(f.code, f.object) for f in report.findings] == [("TRK001", "public.notes")]
    run(own, report.findings[0].fix)
    assert not verify.verify(own, leaks=0).findings


ALTERED = """
create type public.size as enum ('s'); create type public.place as (zip char(5)); create domain public.code as char(4);
create function public.as_json(public.size) returns json language sql immutable as $$ select to_json($1::text) $$;
create cast (public.size as json) with function public.as_json(public.size);
"""


@pytest.mark.parametrize(
    ("type", "found"),
    [
        *((t, True) for t in ("char(3)", "bpchar", "bit(4)", '"bit"', "char(3)[]", "bit(4)[]", "public.code", "public.code[]", "public.place",
                              "public.place[]", "public.size")),
        *((t, False) for t in ("char", "char(1)", "bit", "bit(1)", "varchar(3)", "varbit(4)", "numeric", "numeric[]", "real", "float8",
                               "bytea", "jsonb", "public.code_of_one", "int[]", '"char"', "name")),
    ],
)  # fmt: skip
def test_types_that_arrive_altered(own: str, type: str, found: bool) -> None:
    run(own, ALTERED, "create domain public.code_of_one as char(1)", *NOTES.split(";\n"))
    run(own, f"alter table public.notes add column value {type}", TRACKED)
    findings = verify.verify(own, checks=["TRK"]).findings
    assert [(f.code, f.object) for f in findings] == [("TRK003", "public.notes.value")] * found


@pytest.mark.parametrize("type", ["char(9)", "bit(9)", "float8", "jsonb", "text[]", "public.place"])
def test_a_key_that_changed_to_a_type_that_cannot_be_matched(own: str, type: str) -> None:
    run(
        own,
        ALTERED,
        *NOTES.replace("id uuid primary key default gen_random_uuid()", "id text primary key").split(";\n"),
        TRACKED,
    )
    run(own, "drop trigger zz_realtime_toolkit_fixed on public.notes",
        f"alter table public.notes alter id type {type} using null::{type}",
        "select realtime_toolkit.make_triggers('public.notes', 'owner_id')")  # fmt: skip
    (finding,) = verify.verify(own, checks=["TRK"]).findings
    assert (finding.code, finding.object) == ("TRK002", "public.notes")
    run(own, finding.fix)
    assert not verify.verify(own, checks=["TRK"]).findings


def test_a_tracked_table_that_is_no_longer_published(own: str) -> None:
    run(own, "alter publication supabase_realtime drop table public.messages")
    (finding,) = verify.verify(own, migrations=MIGRATIONS).findings
    assert (finding.code, finding.object) == ("PUB004", "public.messages")
    assert finding.file is not None
    line = Path(finding.file).read_text().splitlines()[(finding.line or 0) - 1]
    assert re.match("(create|alter|select) .*public.messages", line)


def test_an_inactive_slot_is_found(own: str) -> None:
    run(own, "select pg_create_logical_replication_slot('left_behind', 'pgoutput')")
    try:
        (finding,) = verify.verify(own, checks=["server"]).findings
        assert finding.code == "SRV005"
        run(own, finding.fix)
        assert not verify.verify(own, checks=["server"]).findings
    finally:
        run(
            own,
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'left_behind'",
        )


@pytest.mark.parametrize("name", ["nothing", "a b", "x.y.z.w", 'public."'])
def test_a_table_that_is_expected_and_not_there(own: str, name: str) -> None:
    with pytest.raises(ConfigError, match="no table"):
        verify.verify(own, config=verify.Config(expected=(name,)))


def test_tables_that_the_configuration_expects(own: str, tmp_path: Path) -> None:
    told = tmp_path / "verify.toml"
    told.write_text('[publication]\ntables = ["notes"]\n')
    run(own, *NOTES.split(";\n"))
    (finding,) = verify.verify(own, config=verify.load_config(told)).findings
    assert (finding.code, finding.object) == ("PUB004", "public.notes")


# -- the dynamic checks ask first --------------------------------------------------------------------------


def test_elsewhere_the_dynamic_checks_need_a_word(
    stack: LocalStack, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "is_local", lambda _: False)
    report = verify.verify(own)
    skipped = {check.rule.code for check in report.of(Outcome.SKIPPED)}
    assert {"ACC001", "DLV001", "CHN001"} <= skipped
    assert report.matrices is None
    assert report.ok()
    assert not report.ok(strict=True)
    assert verify.verify(own, allow_writes=True).matrices is not None
    with pytest.raises(ConfigError, match="allow-writes"):
        verify.pgtap(own)


def test_what_cannot_be_tried_is_no_pass(own: str) -> None:
    run(own, "create role only_reads login")
    try:
        url = psycopg.conninfo.make_conninfo(own, user="only_reads", password="", host="127.0.0.1")
        with psycopg.connect(own, autocommit=True) as connection:
            connection.execute("alter role only_reads password 'only_reads'")
        report = verify.verify(psycopg.conninfo.make_conninfo(url, password="only_reads"))
        assert {c.outcome for c in report.checks if c.rule.code.startswith(("ACC", "CHN"))} == {
            Outcome.SKIPPED
        }
        assert "cannot act as" in report.of(Outcome.SKIPPED)[0].reason
    finally:
        run(own, "drop role only_reads")


# -- the snapshot -------------------------------------------------------------------------------------------


def test_a_migration_that_widens_access_is_noticed(own: str, tmp_path: Path) -> None:
    path = tmp_path / "access.snapshot"
    verify.write_snapshot(path, verify.verify(own, snapshot=path))
    assert not verify.verify(own, snapshot=path).findings
    run(
        own, "create policy seen on public.tasks for select to authenticated using (agent_role = 'assistant')"
    )
    findings = verify.verify(own, snapshot=path, checks=["SNP"]).findings
    assert findings
    assert {f.object for f in findings} == {"public.tasks"}
    assert all(f.detail.startswith("Access widened") for f in findings)
    assert {f.file for f in findings} == {path.as_posix()}


def test_a_migration_that_narrows_access_is_noticed(own: str, tmp_path: Path) -> None:
    path = tmp_path / "access.snapshot"
    verify.write_snapshot(path, verify.verify(own))
    run(own, "revoke delete on public.conversations from authenticated")
    (finding,) = verify.verify(own, snapshot=path, checks=["snapshot"]).findings
    assert finding.detail.startswith("Access narrowed")


def test_a_table_that_left_the_publication_is_one_finding(own: str, tmp_path: Path) -> None:
    path = tmp_path / "access.snapshot"
    verify.write_snapshot(path, verify.verify(own))
    run(own, "alter publication supabase_realtime drop table public.tasks")
    (finding,) = delivered(verify.verify(own, snapshot=path, checks=["snapshot"]))
    assert (finding.object, finding.detail) == (
        "public.tasks",
        "Access narrowed: deliver public.tasks: its changes reach nobody any more: it left the publication.",
    )
    verify.write_snapshot(path, verify.verify(own))
    run(own, "alter publication supabase_realtime add table public.tasks")
    (finding,) = delivered(verify.verify(own, snapshot=path, checks=["snapshot"]))
    assert finding.detail.startswith("Access widened: deliver public.tasks")


def delivered(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if ": deliver " in finding.detail]


def test_a_line_that_is_gone_is_known_to_the_baseline_again(own: str, tmp_path: Path) -> None:
    path, known = tmp_path / "access.snapshot", tmp_path / "known.txt"
    verify.write_snapshot(path, verify.verify(own))
    gone = "access   public.gone  authenticated  select  own=allow other-tenant=deny\n"
    path.write_text(path.read_text(encoding="utf-8") + gone, encoding="utf-8")
    report = verify.verify(own, snapshot=path)
    assert [(f.code, f.object) for f in report.findings] == [("SNP001", "public.gone")]
    assert verify.write_baseline(known, report) == 1
    assert not verify.without_known(report, verify.read_baseline(known)).findings


# -- calling it wrongly ---------------------------------------------------------------------------------------


def test_an_unknown_check(own: str) -> None:
    with pytest.raises(InputError, match="nonsense"):
        verify.verify(own, checks=["nonsense"])


def test_an_unknown_schema_is_no_pass(own: str) -> None:
    with pytest.raises(InputError, match="nowhere"):
        verify.verify(own, schemas=["nowhere"])


def test_a_told_column_that_is_not_there(own: str) -> None:
    for table, column in (("public.messages", "nobody"), ("public.nothing", "id")):
        config = verify.Config(ownership={table: verify.Ownership(owner=column)})
        with pytest.raises(ConfigError, match=table):
            verify.verify(own, config=config)


def test_without_private_channels_their_checks_are_skipped(empty_database: str) -> None:
    report = verify.verify(empty_database)
    assert "PUB001" in {finding.code for finding in report.findings}
    skipped = {check.rule.code for check in report.of(Outcome.SKIPPED)}
    assert {"MSG001", "MSG002"} <= skipped


def test_only_what_was_asked_for_is_shown(own: str) -> None:
    codes = {check.rule.code for check in verify.verify(own, checks=["PUB00", "server"]).checks}
    assert codes == {f"PUB00{n}" for n in range(1, 10)} | {f"SRV00{n}" for n in range(1, 7)}


def test_nobody_answers() -> None:
    with pytest.raises(Unreachable):
        verify.verify("postgresql://postgres:word@127.0.0.1:9/postgres")
