"""What verify decides without a database: values, ownership, places, formats, baseline, configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.errors import ConfigError, InputError
from realtime_toolkit.verify import (
    CheckResult,
    Finding,
    Level,
    Outcome,
    Report,
    Rule,
    load_config,
    read_baseline,
    render,
    without_known,
    write_baseline,
)
from realtime_toolkit.verify.access import Whose
from realtime_toolkit.verify.bounds import inside
from realtime_toolkit.verify.catalogue import chosen, static_checks
from realtime_toolkit.verify.config import Config
from realtime_toolkit.verify.delivery import Delivery, Event
from realtime_toolkit.verify.hearing import judge_broadcasts
from realtime_toolkit.verify.judging import table_of
from realtime_toolkit.verify.kept import Keeping
from realtime_toolkit.verify.linting import _table
from realtime_toolkit.verify.matrices import Matrices
from realtime_toolkit.verify.ownership import find_belonging
from realtime_toolkit.verify.probing import Answer, classify
from realtime_toolkit.verify.roles import ranks
from realtime_toolkit.verify.sent import Broadcasts, Silent
from realtime_toolkit.verify.snapshot import compare, snapshot_text
from realtime_toolkit.verify.sources import Sources
from realtime_toolkit.verify.tables import Column, ForeignKey, Model, Partition, Policy, Table
from realtime_toolkit.verify.values import plain, sample

FOUND = Finding(
    "PUB008",
    Level.ERROR,
    "public.notes",
    "No identity: 100% of updates fail,\nalways.",
    "alter …;",
    "PUB008 public.notes",
)
KNOWN = Finding(
    "RLS003", Level.WARNING, "policy own on public.notes", "Bare.", "alter …;", "RLS003 public.notes own"
)


def report(*checks: CheckResult) -> Report:
    return Report("16.1", checks, 0.25)


FULL = report(
    CheckResult(Rule("PUB008", "publication", "No identity", "Why."), Outcome.FAIL, (FOUND,)),
    CheckResult(Rule("RLS003", "rls", "Bare call"), Outcome.FAIL, (KNOWN,)),
    CheckResult(Rule("SRV001", "server", "wal_level"), Outcome.PASS),
    CheckResult(Rule("ACC001", "access", "Strangers"), Outcome.SKIPPED, reason="needs --allow-writes"),
    CheckResult(Rule("DLV001", "delivery", "Delivered"), Outcome.UNDECIDED, reason="23514 at x"),
)


# -- reports ------------------------------------------------------------------------------------------------


def test_what_could_not_run_is_no_pass_under_strict() -> None:
    quiet = report(*FULL.checks[2:])
    assert quiet.ok()
    assert quiet.exit_code() == 0
    assert not quiet.ok(strict=True)
    assert quiet.exit_code(strict=True) == 1
    assert FULL.exit_code() == 1


def test_the_least_finding_that_fails() -> None:
    warned = report(FULL.checks[1], FULL.checks[2])
    assert (warned.exit_code(), warned.exit_code(fail_on=Level.ERROR)) == (1, 0)
    assert FULL.exit_code(fail_on=Level.ERROR) == 1
    assert render(warned, fail_on=Level.ERROR).splitlines()[-1].startswith("ok: 1 finding;")
    assert json.loads(render(warned, "json", fail_on=Level.ERROR))["ok"] is True
    suite = ElementTree.fromstring(render(warned, "junit", fail_on=Level.ERROR))
    assert suite.get("failures") == "0"
    assert "RLS003" in (suite.findtext("testcase/system-out") or ""), "it is told all the same"


def test_text_names_the_finding_and_what_mends_it() -> None:
    text = render(FULL)
    assert "PUB008 error public.notes" in text
    assert "mend: alter …;" in text
    assert "SKIPPED ACC001" in text
    assert text.splitlines()[-1].startswith(
        "not ok: 2 findings; checks: 1 PASS, 2 FAIL, 1 UNDECIDED, 1 SKIPPED"
    )


def test_json_holds_all() -> None:
    data = json.loads(render(FULL, "json"))
    assert [finding["code"] for finding in data["findings"]] == ["PUB008", "RLS003"]
    assert data["ok"] is False
    assert {check["outcome"] for check in data["checks"]} == {"PASS", "FAIL", "UNDECIDED", "SKIPPED"}


def test_junit_counts_and_strict_fails_what_did_not_run() -> None:
    suite = ElementTree.fromstring(render(FULL, "junit"))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "2", "2")
    strict = ElementTree.fromstring(render(FULL, "junit", strict=True))
    assert (strict.get("failures"), strict.get("skipped")) == ("4", "0")


def test_sarif_has_a_rule_and_a_place_for_every_result() -> None:
    located = report(CheckResult(FULL.checks[0].rule, Outcome.FAIL, (placed(FOUND),)), *FULL.checks[1:])
    (run,) = json.loads(render(located, "sarif"))["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} <= rules
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "supabase/migrations/1_a.sql"}, "region": {"startLine": 7}}


def test_github_annotations_escape_what_github_would_read() -> None:
    first = render(
        report(CheckResult(FULL.checks[0].rule, Outcome.FAIL, (placed(FOUND),))), "github"
    ).splitlines()[0]
    assert first.startswith("::error file=supabase/migrations/1_a.sql,line=7,title=PUB008 public.notes::")
    assert "100%25 of updates fail,%0Aalways." in first


def placed(finding: Finding) -> Finding:
    fields: dict[str, Any] = {name: getattr(finding, name) for name in finding.__dataclass_fields__}
    return Finding(**{**fields, "file": "supabase/migrations/1_a.sql", "line": 7})


def test_an_unknown_format() -> None:
    with pytest.raises(InputError, match="yaml"):
        render(FULL, "yaml")


def test_a_baseline_sets_the_known_apart_and_can_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "baseline.txt"
    assert read_baseline(path) == frozenset()
    assert write_baseline(path, report(FULL.checks[1])) == 1
    rest = without_known(FULL, read_baseline(path))
    assert [finding.code for finding in rest.findings] == ["PUB008"]
    assert [finding.code for finding in rest.known] == ["RLS003"]
    assert rest.checks[1].outcome is Outcome.PASS
    assert write_baseline(path, rest) == 2
    assert not without_known(FULL, read_baseline(path)).findings


def received(*columns: str) -> Matrices:
    made = Delivery("public.t", "anon", Event.INSERT, Whose.OWN, columns)
    return Matrices({}, (), (made,), (), Keeping(), frozenset(), {})


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (("id",), ("id", "Errors"), "widened"),
        (("id", "undecided"), ("id",), "narrowed"),
        (("deny",), ("deny", "-"), "widened"),
        ((), ("(nothing)",), "widened"),
        (("a,b",), ("a", "b"), "changed"),
        (("a other=b",), ("a", "b"), "changed"),
        (("a b",), ("a\tb",), "changed"),
        (("fault_code",), (), "narrowed"),
    ],
)
def test_a_snapshot_reads_columns_of_any_name(
    before: tuple[str, ...], after: tuple[str, ...], told: str
) -> None:
    text = snapshot_text(received(*before))
    assert not compare(text, received(*before), Path("x")).findings
    (finding,) = compare(text, received(*after), Path("x")).findings
    assert finding.detail.startswith(f"Access {told}: deliver public.t anon INSERT")


def test_a_baselines_lines_may_be_trimmed(tmp_path: Path) -> None:
    names = [" ", "a ", "a", "\n", "\\n", " a"]
    found = [Finding.of("RLS003", Level.WARNING, "x", "", "", f"public.t {name}") for name in names]
    path = tmp_path / "known.txt"
    kept = report(CheckResult(FULL.checks[1].rule, Outcome.FAIL, tuple(found)))
    assert write_baseline(path, kept) == len(names)
    path.write_text("\r\n".join(f"  {line.strip()}  " for line in path.read_text().split("\n")))
    assert not without_known(kept, read_baseline(path)).findings
    one = report(CheckResult(FULL.checks[1].rule, Outcome.FAIL, tuple(found[1:2])))
    write_baseline(path, one)
    assert len(without_known(kept, read_baseline(path)).findings) == len(names) - 1


def test_checks_are_chosen_by_code_prefix_and_group() -> None:
    rules = [check.rule for check in static_checks()]
    assert chosen(rules, ["rls003"]) == {"RLS003"}
    assert chosen(rules, ["server", "PUB001"]) == {f"SRV00{n}" for n in range(1, 7)} | {"PUB001"}
    assert len(chosen(rules, [])) == len(rules)
    with pytest.raises(InputError, match="one of"):
        chosen(rules, ["rls", "weather"])


@pytest.mark.parametrize(
    ("sqlstate", "answer"),
    [
        ("42501", Answer.DENY),
        ("55000", Answer.FAULT),
        ("42P10", Answer.FAULT),
        ("23514", Answer.UNDECIDED),
        ("22012", Answer.RAISES),
    ],
)
def test_what_an_sqlstate_means(sqlstate: str, answer: Answer) -> None:
    assert classify(sqlstate) is answer


def test_a_table_of_pgrls_is_told_without_quotes() -> None:
    ours = {
        "public.My notes": 'public."My notes"',
        "public.notes": "public.notes",
        "public.notes.old": 'public."notes.old"',
    }
    found = {where: _table({"location": where, "severity": "error"}, ours) for where in
             ("public.My notes.p.q", "public.notes", "public.notes.old", "public.notes2", "service_role")}  # fmt: skip
    assert list(found.values()) == ['public."My notes"', "public.notes", 'public."notes.old"', "", ""]
    assert not _table({"location": "public.notes", "severity": "info"}, ours)


def test_the_table_a_finding_is_about() -> None:
    tables = ("public.notes", "app.notes")
    assert table_of("public.notes", tables) == "public.notes"
    assert table_of("app.notes.owner", tables) == "app.notes"
    assert table_of('policy "a on b" on public.notes', tables) == "public.notes"
    assert table_of("policy p on realtime.messages", tables) == "realtime.messages"
    assert table_of("publication supabase_realtime", tables) == ""
    odd = ('public."a on b"', 'public."x.y"', "public.x", 'public."line\nbreak"')
    assert table_of(r'policy "p on public.x" on public."a on b"', odd) == 'public."a on b"'
    assert table_of('public."x.y"."c.d"', odd) == 'public."x.y"'
    assert table_of(r'public."line\nbreak"', odd) == 'public."line\nbreak"'


# -- configuration --------------------------------------------------------------------------------------------


def test_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "verify.toml"
    assert load_config(path) == Config()
    path.write_text(
        '[publication]\ntables = ["a"]\n[tables.notes]\nowner = "who"\n[channels]\ntopics = ["x:{user}"]\n'
    )
    config = load_config(path)
    assert config.expected == ("a",)
    assert config.ownership["public.notes"].owner == "who"
    assert config.topics == ("x:{user}",)


@pytest.mark.parametrize(
    "text",
    ["[publicaton]\n", "[publication]\ntable = []\n", "[publication]\ntables = 'a'\n", "tables = 1\n",
     "[tables.notes]\nowners = 'a'\n", "[tables.notes]\nvalues = 1\n", "[tables.notes]\nvalues = {a = []}\n",
     "[users]\nemail = 1\n", "[users]\nuser_metadata = 'x'\n", "[users]\nname = 'x'\n", "[tables.notes]\nowner = 1\n", "no toml"],
)  # fmt: skip
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "verify.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"verify\.toml"):
        load_config(path)


# -- broadcasts -----------------------------------------------------------------------------------------------


def test_that_nothing_is_heard_where_nothing_can_be_stored_is_no_flaw() -> None:
    silent = Broadcasts(silent=(Silent("public.notes", ("public.tell()",), "no partition (23514)", True),))
    (found,) = [f for check in judge_broadcasts(silent, (), (), ()) for f in check.findings]
    assert (found.code, found.object) == ("BRC005", "function public.tell()")
    unheard = judge_broadcasts(silent, (), (), (), "there is no partition for today")
    assert {(check.outcome, check.reason) for check in unheard} == {
        (Outcome.UNDECIDED, "there is no partition for today")
    }


# -- places ---------------------------------------------------------------------------------------------------

MIGRATION_1 = """\
-- what was first
create table public.notes (
  id uuid primary key, title text
);
create policy own on public.notes for select using (true);
create table app.notes (id uuid primary key);
create function public.touch() returns trigger language plpgsql as $$ begin return new; end $$;
create table public.gone (id uuid);
alter table public.gone enable row level security;
create table public.old (id int);
alter table public.old add at timestamptz;
create view public.seen as select * from notes;
"""
MIGRATION_2 = """\
alter table notes enable row level security;
create policy "see it" on realtime.messages for select using (extension = 'broadcast');
alter policy own
  on notes using (false);
create index notes_at on notes (id);
alter publication supabase_realtime add table public.notes;
alter publication supabase_realtime add table public."T.x", app."T.x.y";
create policy "line\nbreak" on "T.x" for select using (true);
drop table public.gone;
create table public.gone (id uuid primary key);
create table if not exists public.notes (id uuid primary key);
alter table public.old rename to young;
create trigger touched after insert on notes for each row execute function touch();
create trigger kept before update on notes for each row execute function touch();
alter table only public.notes replica identity full, alter column title set not null;
grant select on public.notes to anon;
do $$ begin execute 'alter table app.notes enable row level security'; end $$;
drop policy "see it" on realtime.messages;
create or replace view public.seen as select id from notes;
"""


@pytest.mark.parametrize(
    ("code", "name", "place"),
    [
        ("RLS001", "public.notes", "2_b.sql:1"),
        ("ACC001", "public.notes", "2_b.sql:3"),
        ("PUB005", "public.notes", "2_b.sql:6"),
        ("PUB010", "public.notes", "2_b.sql:16"),
        ("PUB011", "public.notes", "2_b.sql:17"),
        ("UPD001", "public.notes", "1_a.sql:2"),
        ("UPD005", "public.notes.id", "1_a.sql:2"),
        ("PUB016", "public.notes.title", "2_b.sql:16"),
        ("UPD010", "public.notes.title", "2_b.sql:15"),
        ("RLS001", "app.notes", "2_b.sql:18"),
        ("UPD001", "app.notes", "1_a.sql:6"),
        ("RLS010", "policy own on public.notes", "2_b.sql:3"),
        ("MSG005", "realtime.messages", "2_b.sql:19"),
        ("MSG007", "function public.touch()", "1_a.sql:7"),
        ("UPD009", "public.notes_at", "2_b.sql:5"),
        ("PUB001", "publication supabase_realtime", None),
        ("PUB012", "publication supabase_realtime", "2_b.sql:7"),
        ("PUB008", 'public."T.x"', "2_b.sql:7"),
        ("RLS010", r'policy "line\nbreak" on public."T.x"', "2_b.sql:8"),
        ("RLS001", 'public."T"', None),
        ("RLS001", "public.gone", "2_b.sql:11"),
        ("RLS001", "public.young", "1_a.sql:10"),
        ("UPD004", "public.young.at", "1_a.sql:11"),
        ("RLS008", "public.seen", "2_b.sql:20"),
        ("SRV001", "server setting wal_level", None),
        ("RLS001", "public.nowhere", None),
    ],
)
def test_the_statement_that_made_an_object_what_it_is(
    tmp_path: Path, code: str, name: str, place: str | None
) -> None:
    (tmp_path / "1_a.sql").write_text(MIGRATION_1)
    (tmp_path / "2_b.sql").write_text(MIGRATION_2)
    found = Sources.read(tmp_path, tmp_path).locate(Finding(code, Level.ERROR, name, "", "", ""))
    assert (f"{found.file}:{found.line}" if found.file else None) == place


# -- values ---------------------------------------------------------------------------------------------------


def column(name: str = "c", base: str = "text", **rest: Any) -> Column:
    given: dict[str, Any] = {
        "type": base, "kind": "b", "labels": (), "length": None, "not_null": True, "default": None,
        "generated": False, "identity": False,
    }  # fmt: skip
    return Column(name=name, base=base, **{**given, **rest})


@pytest.mark.parametrize(
    "pattern",
    [
        "^[A-Z]{2}$",
        r"^\d{4}-\d{2}$",
        "^(red|green)$",
        "^#[0-9a-f]{6}$",
        r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$",
        "^[a-z][a-z0-9_]{0,62}$",
        "^x?y*z+$",
    ],
)
@pytest.mark.parametrize("variant", [0, 3, 7])
def test_a_text_that_a_pattern_matches(pattern: str, variant: int) -> None:
    text = sample(pattern, variant)
    assert text is not None
    assert re.search(pattern, text)


@given(st.text(max_size=30))
def test_a_pattern_that_python_cannot_read_gives_none(pattern: str) -> None:
    text = sample(pattern)
    assert text is None or isinstance(text, str)


@given(st.integers(1, 100_000), st.sampled_from([None, 1, 3, 40]))
def test_values_fit_their_length(number: int, length: int | None) -> None:
    value = plain(column(base="character varying", length=length), number)
    assert value
    assert length is None or len(value) <= length


@pytest.mark.parametrize(
    ("bound", "base", "low", "high"),
    [
        ("FOR VALUES FROM (10) TO (12)", "integer", 10, 12),
        ("FOR VALUES FROM (MINVALUE) TO (5)", "bigint", -10_000_000, 5),
        ("FOR VALUES FROM (7) TO (MAXVALUE)", "bigint", 7, 10_000_000),
        ("FOR VALUES FROM ('2026-02-01') TO ('2026-02-03')", "date", "2026-02-01", "2026-02-03"),
        ("FOR VALUES FROM (MINVALUE) TO ('2026-02-01')", "date", "", "2026-02-01"),
        ("FOR VALUES FROM ('2026-02-01 00:00:00+00') TO ('2026-02-01 01:00:00+00')", "timestamp with time zone",
         "2026-02-01 00:00:00+00:00", "2026-02-01 01:00:00+00:00"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [101, 102, 517, 100_000])
def test_a_value_falls_into_its_partition(bound: str, base: str, low: Any, high: Any, number: int) -> None:
    at = column("at", base)
    value = inside(table("public.t_1", at, partitions=(Partition("public.t", ("at",), bound),)), at, number)
    assert value is not None
    assert low <= type(low)(value) < high


@pytest.mark.parametrize(
    ("name", "labels", "default", "found"),
    [
        ("role", ("owner", "admin", "member"), None, ("member", "owner")),
        ("role", ("guest", "editor"), "'guest'::public.r", ("guest", "editor")),
        ("role", ("admin", "moderator"), None, ("moderator", "admin")),
        ("mood", ("sad", "fine"), None, None),
        ("department", ("hr", "sales"), None, ("sales", "hr")),
    ],
)
def test_the_roles_of_a_column(
    name: str, labels: tuple[str, ...], default: str | None, found: tuple[str, str] | None
) -> None:
    role = column(name, "public.r", kind="e", labels=labels, default=default)
    said = [("public.salaries", "(EXISTS ( SELECT 1 FROM staff s WHERE (s.department = 'hr'::public.r)))")]
    assert ranks(table("public.staff", ID, role), role, said) == found


# -- ownership ------------------------------------------------------------------------------------------------


def table(
    name: str, *columns: Column, policy: str = "", keys: tuple[ForeignKey, ...] = (), **rest: Any
) -> Table:
    given: dict[str, Any] = {
        "kind": "r", "published": True, "rls": True, "key": ("id",), "identity": ("id",), "identity_kind": "d", "uniques": (),
        "checks": (), "partitions": (), "public_read": frozenset(),
        "personal_read": True, "filter_columns": frozenset(),
    }  # fmt: skip
    policies = (Policy("p", "r", True, policy, rest.pop("functions", {})),)
    return Table(name=name, columns=columns, policies=policies, foreign_keys=keys, **{**given, **rest})


def model(*tables: Table) -> Model:
    return Model({t.name: t for t in tables}, None, False, (), ())


ID, OWNER = column("id", "uuid"), column("holder", "uuid")


@pytest.mark.parametrize(
    "policy",
    [
        "(holder = ( SELECT auth.uid() AS uid))",
        "(( SELECT auth.uid() AS uid) = holder)",
        "(auth.uid() = holder)",
        "((holder)::text = ( SELECT (auth.jwt() ->> 'sub'::text)))",
        "(( SELECT auth.uid() AS uid) = ANY (ARRAY[holder, id]))",
    ],
)
@pytest.mark.parametrize("name", ["holder", "Holder", "the holder", 'a"b', "c++", "größe", "a.b", "\n"])
def test_an_owner_is_seen_in_a_policy(policy: str, name: str) -> None:
    written = name if name == "holder" else '"' + name.replace('"', '""') + '"'
    boxes = table("public.boxes", ID, column(name, "uuid"), policy=policy.replace("holder", written))
    found = find_belonging(model(boxes), Config())
    assert name in found.users["public.boxes"]
    assert "public.boxes" in found.personal


def test_an_owner_is_seen_in_another_table_of_an_odd_name() -> None:
    policy = '(EXISTS ( SELECT 1 FROM app."My members" "m m" WHERE (("m m"."The user" = auth.uid()) AND ("m m".team = boxes.team))))'
    members = table('app."My members"', ID, column("The user", "uuid"), personal_read=False)
    found = find_belonging(
        model(members, table("public.boxes", ID, column("team", "uuid"), policy=policy)), Config()
    )
    assert found.users == {'app."My members"': frozenset({"The user"})}


def test_members_own_what_their_team_has() -> None:
    teams = table("public.teams", ID, personal_read=False)
    members = table(
        "public.members", column("team", "uuid"), column("who", "uuid"), key=("team", "who"),
        keys=(ForeignKey(("team",), "public.teams", ("id",)), ForeignKey(("who",), "auth.users", ("id",))),
    )  # fmt: skip
    docs = table(
        "public.docs", ID, column("team", "uuid"), keys=(ForeignKey(("team",), "public.teams", ("id",)),)
    )
    found = find_belonging(model(teams, members, docs), Config())
    assert found.users == {"public.members": frozenset({"who"})}
    assert found.personal == {"public.members"}
    assert found.owned == {"public.teams", "public.members", "public.docs"}


@pytest.mark.parametrize(
    ("policy", "listed"),
    [
        ("(tenant = ( SELECT (((auth.jwt() -> 'app_metadata'::text) ->> 'org'::text))::uuid AS uuid))", False),
        ("((( SELECT ((auth.jwt() -> 'app_metadata'::text) ->> 'org'::text)))::uuid = tenant)", False),
        ("(tenant = ANY (ARRAY( SELECT (jsonb_array_elements_text(((( SELECT auth.jwt() AS jwt) -> 'app_metadata'::text) -> 'org'::text)))::uuid)))", True),
    ],
)  # fmt: skip
def test_a_tenant_is_seen_in_a_claim(policy: str, listed: bool) -> None:
    found = find_belonging(
        model(table("public.bills", ID, column("tenant", "uuid"), policy=policy)), Config()
    )
    (claim,) = found.claims
    assert (claim.path, claim.table, claim.column, claim.listed) == (
        ("app_metadata", "org"),
        "public.bills",
        "tenant",
        listed,
    )
    assert found.tenants == {"public.bills": frozenset({"tenant"})}


def test_a_claim_inside_a_function_of_the_policy() -> None:
    body = "select (auth.jwt() -> 'app_metadata' ->> 'org')::uuid"
    made = table(
        "public.bills",
        ID,
        column("tenant", "uuid"),
        policy="(tenant = ( SELECT app.org() AS org))",
        functions={"app.org": body},
    )
    (claim,) = find_belonging(model(made), Config()).claims
    assert claim.path == ("app_metadata", "org")
