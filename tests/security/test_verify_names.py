"""verify on names that somebody could choose to break what reads them: every command, every format."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import psycopg
import pytest

from realtime_toolkit import migrate, verify
from realtime_toolkit.errors import ConfigError
from realtime_toolkit.migrate.sqlsplit import split
from realtime_toolkit.shown import ACTED_ON, shown
from realtime_toolkit.verify import Outcome
from realtime_toolkit.verify.judging import table_of
from tests.integration.test_verify_deep import PGTAP, tap
from tests.security import hostile

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.verify import Report

pytestmark = pytest.mark.timeout(300)  # two tables for each of 80 names, each tried in every way
ODD = re.compile(f"(?!\n)[{ACTED_ON}]")
CODES = {"PUB014", "RLS003", "RLS004", "RLS008", "RLS010", "UPD002", "UPD003", "UPD004", "UPD008", "UPD009"}
"""What every table of the hostile schema is found guilty of."""


@pytest.fixture(scope="module")
def url(project_of: Callable[..., str]) -> str:
    return project_of(hostile.script())


@pytest.fixture(scope="module")
def report(url: str) -> Report:
    return verify.verify(url, leaks=0)


def tables(report: Report) -> list[str]:
    assert report.matrices is not None
    return [name for name in report.matrices.tables if name != "public.keep"]


# -- judging ----------------------------------------------------------------------------------------------


def test_every_table_is_judged_alike(report: Report) -> None:
    assert not [(c.rule.code, c.reason) for c in report.checks if c.outcome is Outcome.UNDECIDED]
    found: dict[str, set[str]] = {name: set() for name in tables(report)}
    for finding in report.findings:
        # An index and a view are named by themselves.
        of = re.search(r"(?:no update of|can read through it) (.+)(?: can be|, past its)", finding.detail)
        name = table_of(of[1] if of else finding.object, found)
        if name in found:
            found[name].add(finding.code)
    assert {name: codes for name, codes in found.items() if codes != CODES} == {}
    assert len(found) == 2 * len(hostile.NAMES) - 2


def test_an_owner_is_seen_whatever_the_column_is_called(report: Report) -> None:
    assert report.matrices is not None
    reading = {
        (cell.table, cell.whose.value): cell.result.answer.value
        for cell in report.matrices.access
        if cell.role == "authenticated" and cell.command == "select"
    }
    assert {(name, reading[name, "own"], reading[name, "other tenant"]) for name in tables(report)} == {
        (name, "allow", "deny") for name in tables(report)
    }


@pytest.mark.parametrize("schema", ["a,b", "a.b", "c++", "\nok: 0 findings"])
def test_one_schema_is_judged_whatever_it_is_called(url: str, schema: str) -> None:
    objects = {finding.object for finding in verify.verify(url, checks=["RLS003"], schemas=[schema]).findings}
    assert len(objects) == 1
    assert shown(schema) in objects.pop()


# -- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", sorted(verify.FORMATS))
def test_nothing_in_a_report_is_acted_on(report: Report, form: str) -> None:
    text = verify.render(report, form)
    assert not ODD.search(text)
    assert len(text.splitlines()) == text.count("\n")


def test_a_name_forges_no_line_of_the_text(report: Report) -> None:
    *lines, last = verify.render(report).splitlines()
    assert last.startswith("not ok: ")
    shapes = r"[A-Z]{3}\d{3} (error|warning) .+|  [^ ].+|  mend: .+||(SKIPPED|UNDECIDED) .+"
    assert not [line for line in lines if not re.fullmatch(shapes, line)]
    assert len([line for line in lines if line.startswith("  mend: ")]) == len(report.findings)


def test_a_name_forges_no_annotation(report: Report) -> None:
    *lines, _ = verify.render(report, "github").splitlines()
    found = [re.fullmatch(r"::(error|warning|notice) title=([^:,]*)::(.*)", line) for line in lines]
    assert None not in found
    titles = Counter(match[2] for match in found if match)
    assert len(titles) == len(found)


def test_machines_read_what_was_found(report: Report) -> None:
    said = [(f.code, f.object, f.fix) for f in report.findings]
    assert [
        (f["code"], f["object"], f["fix"]) for f in json.loads(verify.render(report, "json"))["findings"]
    ] == said
    (run,) = json.loads(verify.render(report, "sarif"))["runs"]
    assert len(run["results"]) == len(said)
    suite = ElementTree.fromstring(verify.render(report, "junit"))
    texts = "\n".join(failure.text or "" for failure in suite.iter("failure"))
    assert texts.count("  mend: ") == len(said)


# -- what is kept in files --------------------------------------------------------------------------------


def test_a_baseline_knows_every_finding_again(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "known.txt"
    assert verify.write_baseline(path, report) == len(report.findings), "two findings with one fingerprint"
    trimmed = "\n".join(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    path.write_text(trimmed, encoding="utf-8")
    left = verify.without_known(report, verify.read_baseline(path))
    assert not left.findings
    assert len(left.known) == len(report.findings)


def test_a_snapshot_is_the_same_again_and_one_line_an_answer(
    url: str, report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "access.snapshot"
    verify.write_snapshot(path, report)
    lines = path.read_text(encoding="utf-8").splitlines()[2:]
    shape = r"(access|deliver|channel) +(\S.*\S|\S)  (anon|authenticated|service_role)  [\w ]+  \S.*"
    assert not [line for line in lines if not re.fullmatch(shape, line) or ODD.search(line)]
    assert report.matrices is not None
    asked = {(c.table, c.role, c.command) for c in report.matrices.access}
    assert len([line for line in lines if line.startswith("access")]) == len(asked)
    (result,) = verify.verify(url, checks=["SNP001"], snapshot=path).checks
    assert result.outcome is Outcome.PASS


def test_a_snapshot_tells_the_right_that_was_lost(project_of: Callable[..., str], tmp_path: Path) -> None:
    name = "x\nown=allow  b"
    url, path = project_of(hostile.schema(name)), tmp_path / "access.snapshot"
    verify.write_snapshot(path, verify.verify(url, leaks=0))
    quoted = psycopg.sql.Identifier(name).as_string()
    run(url, f"revoke update on public.{quoted} from authenticated")
    findings = verify.verify(url, checks=["SNP001"], snapshot=path).findings
    assert {finding.object for finding in findings} == {r'public."x\nown=allow \x20b"'}
    assert {finding.detail.partition(":")[0] for finding in findings} == {"Access narrowed"}


def test_a_line_that_is_none_of_a_snapshots_is_said(project_of: Callable[..., str], tmp_path: Path) -> None:
    url = project_of(hostile.KEPT)
    path = tmp_path / "access.snapshot"
    path.write_text("<<<<<<< HEAD\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"access\.snapshot:1"):
        verify.verify(url, checks=["SNP001"], snapshot=path)


# -- what mends it ----------------------------------------------------------------------------------------


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def printed(report: Report) -> list[str]:
    """The SQL that mends each finding, from the text for people."""
    return [
        line.removeprefix("  mend: ")
        for line in verify.render(report).splitlines()
        if line.startswith("  mend: ")
    ]


def test_the_printed_sql_mends_it(project_of: Callable[..., str]) -> None:
    half = [name for name in hostile.NAMES if name != "public"]
    url = project_of(
        hostile.KEPT, *(hostile.schema(n, of="public" if at % 2 else n) for at, n in enumerate(half))
    )
    report = verify.verify(url, checks=["PUB", "RLS", "MSG", "UPD"])
    fixes = printed(report)
    assert len(fixes) == len(report.findings) > 500
    run(url, *(each.text for fix in fixes for each in split(_decided(fix)) if each.words))
    remarks = {f.code for f in report.findings if f.fix.startswith("--")}
    left = verify.verify(url, checks=["PUB", "RLS", "MSG", "UPD"]).findings
    assert {finding.code for finding in left} <= remarks
    run(url, "select from public.keep")


@pytest.mark.parametrize("name", ["x" * 63, "é" * 31 + "x", "😀" * 15 + "xyz", 'a"b\nc'])
@pytest.mark.parametrize(("command", "code"), [("select", "MSG005"), ("insert", "MSG006")])
def test_a_policy_beside_one_of_the_longest_name(
    project_of: Callable[..., str], name: str, command: str, code: str
) -> None:
    policy = psycopg.sql.Identifier(name).as_string()
    asks = "(realtime.topic() = 'x' and extension = 'presence')"
    clause = f"using {asks}" if command == "select" else f"with check {asks}"
    url = project_of(f"create policy {policy} on realtime.messages for {command} to authenticated {clause}")
    (finding,) = verify.verify(url, checks=["MSG"]).findings
    assert finding.code == code
    run(url, _decided(finding.fix))
    assert not verify.verify(url, checks=["MSG"]).findings


TRACKED = """
create table public.{table} (id uuid primary key, {scope} uuid not null, {code} char(3));
create index on public.{table} ({scope});
alter table public.{table} enable row level security;
create policy {table} on public.{table} for all to authenticated
  using ({scope} = (select auth.uid())) with check ({scope} = (select auth.uid()));
select public.track_table({literal}, kind => 'owner', scope_column => {scope_text});
"""


def test_tracked_tables_are_judged_and_mended(project_of: Callable[..., str]) -> None:
    url = project_of()
    migrate.apply_all(url, Path(__file__).parents[2] / "supabase" / "migrations")
    for name in hostile.NAMES:
        names = {
            key: hostile.near(name, letter) for key, letter in (("table", "t"), ("scope", "s"), ("code", "c"))
        }
        made = psycopg.sql.SQL(TRACKED).format(
            literal=psycopg.sql.Literal(f"public.{psycopg.sql.Identifier(names['table']).as_string()}"),
            scope_text=psycopg.sql.Literal(names["scope"]),
            **{key: psycopg.sql.Identifier(each) for key, each in names.items()},
        )
        table = psycopg.sql.Identifier(names["table"]).as_string()
        run(url, made.as_string(), f"alter table public.{table} replica identity default")
    report = verify.verify(url, leaks=0)
    assert Counter(f.code for f in report.findings) == {
        "TRK001": len(hostile.NAMES),
        "TRK003": len(hostile.NAMES),
    }
    assert not [(c.rule.code, c.reason) for c in report.checks if c.outcome is Outcome.UNDECIDED]
    for fix in printed(report):
        run(url, *(statement.text for statement in split(fix)))
    assert not verify.verify(url, checks=["TRK"]).findings


def _decided(fix: str) -> str:
    """With what only the author can know, as an author would write it."""
    return fix.replace("/* … */", "'topic'").replace("/* the rows the user may know of */", "true")


def test_a_remark_cannot_be_ended(project_of: Callable[..., str]) -> None:
    url = project_of(hostile.KEPT, hostile.schema("x\n; drop table public.keep; --"))
    remarks = [fix for fix in printed(verify.verify(url, leaks=0)) if fix.startswith("--")]
    assert remarks
    for remark in remarks:
        run(url, remark)
    run(url, "select from public.keep")


# -- the other ways out -----------------------------------------------------------------------------------


def test_the_pgtap_file_holds(url: str, project_of: Callable[..., str]) -> None:
    text = verify.pgtap(url)
    assert not ODD.search(text)
    lines = tap(project_of(hostile.script(), PGTAP), text)
    tests = [line for line in lines if line.startswith(("ok", "not ok"))]
    assert f"1..{len(tests)}" in lines
    assert not [line for line in tests if not line.startswith("ok - ")]


LEAKING = """
create table public.{table} (id uuid primary key default gen_random_uuid(), {owner} uuid not null, {flag} boolean not null default false);
create index on public.{table} ({owner});
alter table public.{table} enable row level security;
create policy {table} on public.{table} for select to authenticated using ({owner} = (select auth.uid()) or {flag});
alter publication supabase_realtime add table public.{table};
"""


@pytest.mark.parametrize("name", ['a"b\n; drop table public.keep; --', "c++", "esc\x1b[31m", "user"])
def test_a_leaks_script_can_be_run(project_of: Callable[..., str], name: str) -> None:
    names = {
        key: psycopg.sql.Identifier(value)
        for key, value in (("table", name), ("owner", f"o{name}"), ("flag", f"f{name}"))
    }
    url = project_of(hostile.KEPT, psycopg.sql.SQL(LEAKING).format(**names).as_string())
    (finding,) = verify.verify(url, checks=["leaks"]).findings
    assert not ODD.search(finding.script)
    *before, reach, _rollback = finding.script.split(";\n")
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in before:
            connection.execute(statement.encode())
        assert len(connection.execute(reach.encode()).fetchall()) == 1


def test_pytests_items_have_names_of_their_own(project_of: Callable[..., str], tmp_path: Path) -> None:
    names = [name for name in hostile.NAMES if re.search(rf"[:\[ {ACTED_ON}]", name)]
    url = project_of(*map(hostile.schema, names))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--supabase-verify", "--supabase-verify-url", url, "-p", "no:cacheprovider", "-v", "--junitxml=x.xml"],
        cwd=tmp_path, capture_output=True, timeout=55, check=False,
    )  # fmt: skip
    output = done.stdout.decode()
    assert done.returncode == 1
    assert not ODD.search(output)
    named = re.findall(
        r"^supabase-verify::(.+::[A-Z]{3}\d{3}) (?:PASSED|FAILED|SKIPPED)", output, re.MULTILINE
    )
    assert len(set(named)) == len(named)
    assert {name.rpartition("::")[0] for name in named} == {
        "database",
        *(shown(f"public.{psycopg.sql.Identifier(name).as_string()}") for name in names),
    }
    assert len(list(ElementTree.parse(tmp_path / "x.xml").iter("testcase"))) == len(named)


def test_pytest_says_in_a_line_what_it_cannot_reach(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    url = "postgresql://somebody:secret@127.0.0.1:9/x"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--supabase-verify", "--supabase-verify-url", url, "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --supabase-verify: no database answers at 127.0.0.1:9/x" in done.stderr + done.stdout
    assert "secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
