"""Migrations on disk: reading, comparing with a history, init, new."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from realtime_toolkit import migrate
from realtime_toolkit.errors import InputError
from realtime_toolkit.migrate import CopyState, Track
from realtime_toolkit.migrate.files import read_directory
from realtime_toolkit.migrate.sqlsplit import significant

NOW = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


def write(directory: Path, **files: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / f"{name.lstrip('_')}.sql").write_text(text, encoding="utf-8")
    return directory


# -- reading ------------------------------------------------------------------------------------------


def test_only_files_named_so_are_migrations(tmp_path: Path) -> None:
    write(tmp_path, _2_b="select 2", _1_a="select 1", note="x")
    (tmp_path / "3_folder.sql").mkdir()
    (tmp_path / "readme.md").touch()
    (tmp_path / "4_d.SQL").touch()
    assert [migration.file for migration in read_directory(tmp_path)] == ["1_a.sql", "2_b.sql"]
    assert [(problem.code, problem.files) for problem in migrate.problems(tmp_path)] == [
        ("ignored", ("4_d.SQL",)),
        ("ignored", ("note.sql",)),
    ]


@pytest.mark.parametrize(
    ("sql", "transactional"),
    [
        ("-- realtime-toolkit: no-transaction\nselect 1", False),
        ("-- why\r\n--realtime-toolkit:no-transaction\r\nselect 1\n", False),
        ("/* x */\n-- realtime-toolkit: no-transaction", False),
        ("select 1; -- realtime-toolkit: no-transaction\nselect 2", True),
        ("select 1;\n-- realtime-toolkit: no-transaction\nselect 2", True),
        ("-- realtime-toolkit: no-transactions\nselect 1", True),
        ("-- pg-delta: transaction=false\r\nselect 1", False),
        ("\n-- pg-delta: transaction=false\nselect 1", True),
        ("", True),
    ],
)
def test_the_directive_stands_before_the_first_statement(
    sql: str, transactional: bool, tmp_path: Path
) -> None:
    (migration,) = read_directory(write(tmp_path, _1_a=sql))
    assert migration.transactional is transactional


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (migration,) = read_directory(write(tmp_path, _1_a="\ufeffselect 1"))
    assert migration.texts == ["select 1"]


def test_a_file_that_is_not_utf8_is_read_as_the_cli_reads_it_and_told(tmp_path: Path) -> None:
    (tmp_path / "1_a.sql").write_bytes(b"select '\xe9'")
    (migration,) = read_directory(tmp_path)
    assert migration.texts == ["select '\ufffd'"]
    (problem,) = migrate.problems(tmp_path)
    assert (problem.code, problem.stops) == ("not_utf8", False)
    assert problem.message.startswith("1_a.sql: not UTF-8 (byte 8)")


def test_a_link_that_leads_nowhere_is_no_file_to_pass_over(tmp_path: Path) -> None:
    (tmp_path / "1_a.sql").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"1_a\.sql: No such file"):
        read_directory(tmp_path)


def test_the_init_that_the_cli_passes_over(tmp_path: Path) -> None:
    write(tmp_path, _20200101000000_init="", _20200102000000_init="", _20220101000000_init="")
    assert [m.version for m in read_directory(tmp_path)] == ["20200102000000", "20220101000000"]
    assert "rename it" in migrate.problems(tmp_path)[0].message
    (tmp_path / ".gitkeep").touch()
    assert len(read_directory(tmp_path)) == 3


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such directory"):
        read_directory(tmp_path / "none")


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["1_a", "1_b"], "duplicate_version"),
        (["1_a", "10_b", "2_c"], "text_order"),
        (["20240101_a", "20240101000000_b"], "text_order"),
        (["20240101_a", "20240215000000_b", "20250101_c"], "text_order"),
        (["1_a", "2_b", "9_c"], None),
        (["20240101000000_b", "20240101000001_a"], None),
    ],
)
def test_hazards_of_a_directory(names: list[str], code: str | None, tmp_path: Path) -> None:
    write(tmp_path, **{f"_{name}": "" for name in names})
    assert [problem.code for problem in migrate.problems(tmp_path)] == ([code] if code else [])


# -- init ---------------------------------------------------------------------------------------------


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return write(tmp_path / "ours", _1_a="select 1;\n", _2_b="select 2;\n")


def states(made: migrate.Initialised) -> list[str]:
    return [str(file.state) for file in made.files]


def test_init_copies_into_a_project(ours: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    made = migrate.init(project, ours)
    assert (made.ok, states(made)) == (True, ["copied", "copied"])
    target = project / "supabase" / "migrations"
    assert made.directory == str(target)
    assert (target / "1_a.sql").read_bytes() == (ours / "1_a.sql").read_bytes()
    assert states(migrate.init(target, ours)) == ["kept", "kept"]
    assert states(migrate.init(project / "supabase", ours)) == ["kept", "kept"]
    json.dumps(made.as_dict())


def test_init_never_overwrites(ours: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "supabase" / "migrations", _1_a="mine", _7_own="select 7")
    made = migrate.init(tmp_path, ours)
    assert (made.ok, states(made)) == (False, ["differs", "copied"])
    assert (target / "1_a.sql").read_text() == "mine"
    assert (target / "2_b.sql").exists()


def test_init_knows_a_file_under_another_name(ours: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "supabase" / "migrations", _1_renamed="select 1;\r\n")
    made = migrate.init(tmp_path, ours)
    assert (made.ok, states(made), made.files[0].existing) == (True, ["kept", "copied"], "1_renamed.sql")
    assert not (target / "1_a.sql").exists()


def test_init_copies_nothing_where_a_version_is_taken(ours: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "supabase" / "migrations", _2_theirs="select 7")
    made = migrate.init(tmp_path, ours)
    assert (made.ok, made.files[1].state) == (False, CopyState.VERSION_TAKEN)
    assert [path.name for path in target.iterdir()] == ["2_theirs.sql"]


def test_our_own_migrations_are_found_and_without_hazards(tmp_path: Path) -> None:
    directory = migrate.packaged_migrations()
    assert len(migrate.init(tmp_path).files) == len(read_directory(directory)) > 0
    assert migrate.problems(directory) == ()


# -- new ----------------------------------------------------------------------------------------------


def test_new_is_named_by_the_time(tmp_path: Path) -> None:
    made = migrate.new(tmp_path / "migrations", "Add  Orders!", now=NOW)
    assert Path(made.path).name == "20260301120005_add_orders.sql"
    assert Path(made.path).read_text() == ""


def test_new_comes_after_all_there_are(tmp_path: Path) -> None:
    write(tmp_path, _20260301120059_a="")
    assert migrate.new(tmp_path, "b", now=NOW).version == "20260301120100"
    write(tmp_path, _3_c="")
    with pytest.raises(InputError, match="version 3 is not a time"):
        migrate.new(tmp_path, "d", now=NOW)


def test_new_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a migration name"):
        migrate.new(tmp_path, "?!", now=NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "written"),
    [("orders", "'public.orders'"), ("shop.orders", "'shop.orders'"), ('shop."It\'s"', "'shop.\"It''s\"'")],
)
def test_new_makes_a_table_followable(table: str, written: str, tmp_path: Path) -> None:
    made = migrate.new(tmp_path, "track", track=Track(table, "tenant", "tenant_id"), now=NOW)
    (migration,) = read_directory(tmp_path)
    assert migration.sql == made.sql
    (statement,) = migration.statements
    assert significant(statement.text) == (
        f"select public . track_table ( {written} , kind => 'tenant' , scope_column => 'tenant_id' )"
    )


@pytest.mark.parametrize(
    ("table", "kind", "column"),
    [
        ("a.b.c", "k", "c"),
        ("a; drop", "k", "c"),
        ("", "k", "c"),
        ("a", "K", "c"),
        ("a", "k:", "c"),
        ("a", "k", ""),
    ],
)
def test_track_refuses_what_is_no_name(table: str, kind: str, column: str) -> None:
    with pytest.raises(InputError):
        Track(table, kind, column)
