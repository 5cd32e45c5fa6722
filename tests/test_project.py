"""The project holds its own rules: import direction, and a wheel that works where there is no checkout."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import click
import pytest

import realtime_toolkit
from realtime_toolkit.cli.commands import cli

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "toolkit" / "realtime_toolkit"

LISTENING = {"listener", "session", "keeper", "inbox", "source"}
EDGES = {"settings", "store", "migrate", "retry"} | LISTENING
WORDS = {"errors", "model", "events"}
READING = {"held", "journal", "digests", "transcript", "replica", "recovery", "subscription", "plain"}
PURE = {"phoenix", "sqlsplit"} | READING
NO_IO = {
    "asyncio",
    "socket",
    "time",
    "datetime",
    "random",
    "websockets",
    "httpx",
    "psycopg",
    "subprocess",
    "os",
}


def modules() -> dict[str, ast.Module]:
    """Dotted name below ``realtime_toolkit`` → syntax tree."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


def imports(tree: ast.Module) -> set[str]:
    """Every module a file imports, also inside functions; not those for type checkers only."""
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def toolkit_imports(tree: ast.Module, known: set[str]) -> set[str]:
    found = {
        name.removeprefix("realtime_toolkit.")
        for name in imports(tree)
        if name.startswith("realtime_toolkit.")
    }
    return {name for name in found if name in known}


def test_imports_point_one_way() -> None:
    trees = modules()
    known = set(trees) - {""}
    top = {"cli", "testing", "demo", "bench"} | {
        name for name in known if name.startswith(("cli_", "pytest_"))
    }
    wrong = []
    for name, tree in trees.items():
        if name == "" or name.split(".")[0] in top:
            continue
        for target in sorted(toolkit_imports(tree, known)):
            if not allowed(name, target, top):
                wrong.append(f"{name} imports {target}")
    assert not wrong, "\n".join(wrong)


def allowed(name: str, target: str, top: set[str]) -> bool:
    module, wanted = name.split(".")[0], target.split(".")[0]
    if wanted in top:
        return False
    if module == "stack":
        return wanted in WORDS | PURE | {"settings", "migrate", "stack"}
    if wanted == "stack":
        return False
    if module in WORDS:
        return wanted in WORDS
    if module in PURE:
        return wanted in WORDS | (READING if module in READING else set())
    if module in EDGES:
        return wanted in WORDS | PURE | EDGES and not (module in LISTENING and wanted == "store")
    return True


@pytest.mark.parametrize("name", sorted(WORDS | PURE | {"stack.wal"}))
def test_the_thinking_does_no_io(name: str) -> None:
    assert not imports(modules()[name]) & NO_IO


def test_the_environment_is_read_in_one_place() -> None:
    """Settings come through ``cli.shell``; ``stack.places`` asks where caches go. Passing all on is no reading."""
    named = re.compile(r"os\.getenv|os\.environ(\.get|\[)")
    readers = {path.stem for path in SOURCE.rglob("*.py") if named.search(path.read_text())}
    assert readers <= {"places"}, readers


def test_every_setting_is_in_the_example_and_the_other_way_round() -> None:
    example = set(re.findall(r"^#? ?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    read = set(
        re.findall(r'env\.get\("([A-Z_]+)"\)', (ROOT / "toolkit/realtime_toolkit/settings.py").read_text())
    )
    assert example == read


def test_no_file_of_code_is_without_a_docstring() -> None:
    assert not [name for name, tree in modules().items() if ast.get_docstring(tree) is None]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.timeout(180)
def test_the_wheel_is_complete(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    migrations = {
        f"realtime_toolkit/migrations/{path.name}" for path in (ROOT / "supabase/migrations").glob("*.sql")
    }
    sql = {str(path.relative_to(SOURCE.parent)) for path in SOURCE.rglob("*.sql")}
    assert migrations
    assert migrations | sql | {"realtime_toolkit/py.typed"} <= names
    assert not [
        name for name in names if not name.startswith(("realtime_toolkit/", "supabase_realtime_toolkit-"))
    ]


@pytest.mark.timeout(300)
def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    bin_dir = tmp_path / "env" / "bin"
    subprocess.run([str(bin_dir / "pip"), "install", "-q", f"{wheel}[stack]"], check=True, timeout=240)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SUPABASE_", "DATABASE_URL", "PYTHON"))}
    env["PATH"] = f"{bin_dir}:{env['PATH']}"
    done = subprocess.run(
        ["realtime-toolkit", "stack", "run", "--", "realtime-toolkit", "migrate", "status"],
        check=False,
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for path in (ROOT / "supabase/migrations").glob("*.sql"):
        assert path.name.split("_")[0] in done.stdout


def test_the_version_has_its_changelog_entry() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_public_name_is_there() -> None:
    assert {name: getattr(realtime_toolkit, name).__name__ for name in realtime_toolkit.__all__} == {
        n: n for n in realtime_toolkit.__all__
    }


def commands_in(text: str) -> list[list[str]]:
    """Words of every ``realtime-toolkit …`` in a fenced block."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    lines = [line.partition(" #")[0] for block in blocks for line in block.splitlines()]
    commands = [part for line in lines for part in re.split(r"(?=\brealtime-toolkit )", line)[1:]]
    return [shlex.split(command) for command in commands]


@pytest.mark.parametrize("words", commands_in((ROOT / "README.md").read_text()), ids=" ".join)
def test_every_command_in_the_readme_exists(words: list[str]) -> None:
    command: click.Command = cli
    for word in words[1:]:
        if isinstance(command, click.Group) and not word.startswith("-"):
            command = command.commands[word]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"} <= known


def test_every_command_is_in_the_readme() -> None:
    table = (ROOT / "README.md").read_text()
    assert not [name for name in cli.commands if f"`{name}" not in table]
