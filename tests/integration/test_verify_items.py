"""``pytest --supabase-verify``: tests that nobody wrote, in a stranger's project."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1]
CONFIG = "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"


@pytest.fixture
def strangers(tmp_path: Path) -> Callable[..., str]:
    """``strangers(schema, *options)`` is what pytest prints in a project with this schema as its migration."""
    migrations = tmp_path / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text(CONFIG)

    def run(schema: Path, *options: str) -> str:
        shutil.copy(schema, migrations / "20260101000000_schema.sql")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--supabase-verify", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
        return done.stdout + done.stderr

    return run


def test_one_item_a_table_and_check(strangers: Callable[..., str]) -> None:
    output = strangers(TESTS / "correct" / "membership_table.sql", "-v")
    assert "supabase-verify::public.projects::RLS001 PASSED" in output
    assert "supabase-verify::public.teams::RLS003 PASSED" in output
    assert "supabase-verify::database::SRV001 PASSED" in output
    assert "failed" not in output


def test_a_flaw_fails_the_item_of_its_table_and_names_the_line(
    strangers: Callable[..., str], project: Callable[..., str]
) -> None:
    schema = TESTS / "flaws" / "RLS003_bare_uid.sql"
    output = strangers(schema, "--supabase-verify-url", project(schema))
    assert "FAILED supabase-verify::public.workouts::RLS003" in output
    assert "1 failed" in output
    assert "supabase/migrations/20260101000000_schema.sql:10" in output
    assert "mend: alter policy own on public.workouts" in output
    assert "Traceback" not in output


def test_what_cannot_be_decided_is_skipped_with_its_reason(
    strangers: Callable[..., str], project: Callable[..., str]
) -> None:
    schema = TESTS / "flaws" / "RLS005_blind_subquery.sql"
    output = strangers(schema, "-rs", "--supabase-verify-url", project(schema))
    assert "SKIPPED" in output
    assert "UNDECIDED" in output
