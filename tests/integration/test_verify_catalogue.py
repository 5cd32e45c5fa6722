"""Every seeded flaw is found by its own check and no other; correct schemas of other shapes have none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import migrate
from realtime_toolkit.migrate.sqlsplit import split
from realtime_toolkit.verify import Outcome, rules, verify
from realtime_toolkit.verify.catalogue import static_checks
from tests.integration.databases import maker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from realtime_toolkit.stack import LocalStack

TESTS = Path(__file__).parents[1]
FLAWS = sorted((TESTS / "flaws").glob("*.sql"))
CORRECT = sorted((TESTS / "correct").glob("*.sql"))

# What no file can seed: settings of a running server, and the promise of track_table (test_verify_own.py).
ELSEWHERE = {
    "SRV001",
    "SRV002",
    "SRV003",
    "SRV004",
    "SRV005",
    "SRV006",
    "TRK001",
    "SNP001",
    "DLV001",
    "LNT001",
}


_ROLES = "select quote_ident(rolname) from pg_roles"
_MEMBERS = "select roleid::regrole::text, member::regrole::text from pg_auth_members"
_SETTINGS = "select rolname, split_part(c, '=', 1) from pg_roles, unnest(rolconfig) c"


@pytest.fixture
def roles_as_they_were(stack: LocalStack, external: bool) -> Iterator[None]:
    """Roles are of the whole server: what a schema does to them is undone when its databases are gone."""
    if external:
        yield
        return
    with maker(stack) as admin:
        roles = admin.execute(_ROLES).fetchall()
        members, settings = admin.execute(_MEMBERS).fetchall(), admin.execute(_SETTINGS).fetchall()
        yield
        for granted, member in set(admin.execute(_MEMBERS).fetchall()) - set(members):
            admin.execute(f"revoke {granted} from {member}".encode())
        for role, setting in set(admin.execute(_SETTINGS).fetchall()) - set(settings):
            admin.execute(f"alter role {role} reset {setting}".encode())
        for (role,) in set(admin.execute(_ROLES).fetchall()) - set(roles):
            admin.execute(f"drop role {role}".encode())


def expected(flaw: Path) -> set[str]:
    match = re.match(r"-- expect: (.+)\n", flaw.read_text(encoding="utf-8"))
    assert match is not None, f"{flaw.name} does not say what it expects"
    return set(match[1].split())


def made(flaw: Path, project: Callable[..., str]) -> str:
    """A project with the flaw; with our migrations before it, where it says so."""
    if "-- after: our migrations\n" not in flaw.read_text(encoding="utf-8"):
        return project(flaw)
    url = project()
    migrate.apply_all(url, TESTS.parent / "supabase" / "migrations")
    run(url, flaw.read_text(encoding="utf-8"))
    return url


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("roles_as_they_were")
def test_a_flaw_is_found_by_its_own_check_alone(
    flaw: Path, project: Callable[..., str], external: bool
) -> None:
    if external and flaw.stem.startswith("ROL"):
        pytest.skip("roles are of the whole server, and this one is somebody's")
    url = made(flaw, project)
    report = verify(url, leaks=2)
    assert {finding.code for finding in report.findings} == expected(flaw), report.findings
    static = {check.rule.code for check in static_checks()}
    assert not [c for c in report.of(Outcome.UNDECIDED) if c.rule.code in static]
    mendable = [finding for finding in report.findings if can_be_run(finding.fix)]
    for finding in mendable:
        run(url, finding.fix)
    if len(mendable) == len(report.findings):
        left = verify(url, checks=sorted(expected(flaw))).findings
        assert not left, "the SQL that mends it does not"


def can_be_run(fix: str) -> bool:
    """Not those that leave a decision to the author."""
    return "/*" not in fix and "--" not in fix and "…" not in fix


def run(url: str, script: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in split(script):
            connection.execute(statement.text.encode())


@pytest.mark.usefixtures("roles_as_they_were")
@pytest.mark.parametrize("schema", CORRECT, ids=lambda path: path.stem)
def test_a_correct_schema_has_no_finding(schema: Path, project: Callable[..., str]) -> None:
    report = verify(project(schema), leaks=2)
    assert not report.findings
    assert not [(c.rule.code, c.reason) for c in report.checks if c.outcome is not Outcome.PASS]


def test_the_catalogue_is_large_and_leaves_no_check_out() -> None:
    assert len(FLAWS) >= 40
    assert len(CORRECT) >= 6
    found = set().union(*map(expected, FLAWS))
    assert {rule.code for rule in rules()} - found == ELSEWHERE


def test_every_check_says_what_and_why() -> None:
    for check in static_checks():
        assert check.rule.title, check.rule.code
