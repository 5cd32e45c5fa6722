"""The project holds its own rules: import direction, and a wheel that works where there is no checkout."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import venv
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import realtime_toolkit
from realtime_toolkit.cli.commands import cli

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "toolkit" / "realtime_toolkit"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "exact", "model", "events", "shown", "scrub"}),
    frozenset({"phoenix", "replica", "wal.decoder"}),
    frozenset({"settings", "tasks", "tokens", "retry", "store", "migrate", "wal", "follow"}),
    frozenset({"write", "prove", "verify"}),
    frozenset({"stack"}),
    frozenset({"cli", "testing", "demo", "bench"}),
)
"""A module may import those of its own layer and of those before it (DESIGN §3)."""
FORBIDDEN: dict[str, frozenset[str]] = {
    "stack": frozenset({"follow", "write", "prove", "verify", "store"}),
    "follow": frozenset({"store", "migrate", "wal"}),
    "store": frozenset({"follow", "migrate", "wal"}),
    "migrate": frozenset({"follow", "store", "wal"}),
    "wal": frozenset({"follow", "store", "migrate"}),
    "write": frozenset({"follow", "prove", "verify", "migrate", "wal"}),
    "prove": frozenset({"write", "verify", "migrate", "wal"}),
    "verify": frozenset({"write", "prove", "follow", "store", "wal"}),
}
"""Siblings, and layers below, that a package has no business with."""
PURE = LAYERS[0] | LAYERS[1] | {"migrate.sqlsplit", "follow.subscription", "write.chunking"}
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


@cache
def modules() -> dict[str, ast.Module]:
    """Dotted name below ``realtime_toolkit`` → syntax tree."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


def imports(tree: ast.Module) -> set[str]:
    """Every module a file imports, also inside functions and for type checkers only."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_at_run_time(tree: ast.Module) -> set[str]:
    """Without what stands under ``if TYPE_CHECKING``."""
    guarded = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    hidden = {name for node in guarded for name in imports(ast.Module(node.body, []))}
    return imports(tree) - hidden


@cache
def arrows() -> dict[str, frozenset[str]]:
    """Module → modules of ours that it imports; a name taken from a package counts as its own module if it is one."""
    trees = modules()
    found = {}
    for name, tree in trees.items():
        ours = {other.removeprefix("realtime_toolkit.") for other in imports(tree)} & trees.keys()
        packages = {other for other in ours if any(each.startswith(f"{other}.") for each in ours)}
        found[name] = frozenset(ours - packages - {name, ""})
    return found


def layer(module: str) -> int:
    """The first layer that names the module, or the package it is in."""
    for number, names in enumerate(LAYERS):
        if module in names or module.split(".")[0] in names:
            return number
    raise AssertionError(f"{module} is in no layer: LAYERS in {__file__}")


def test_imports_point_one_way() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, targets in arrows().items()
        if name
        for target in sorted(targets)
        if layer(target) > layer(name) or target.split(".")[0] in FORBIDDEN.get(name.split(".")[0], ())
    ]
    assert not wrong, "\n".join(wrong)


def circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Every strongly connected component of more than one module."""
    left = {name: {target for target in targets if target in graph} for name, targets in graph.items()}
    grew = True
    while grew:  # what has no way in, or none out, is in no circle
        wanted = set().union(*left.values()) if left else set()
        kept = {name: targets for name, targets in left.items() if targets and name in wanted}
        grew = len(kept) < len(left)
        left = {name: targets & kept.keys() for name, targets in kept.items()}

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = left[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    reached = {name: reach(name) for name in left}
    found = {tuple(sorted(o for o in reached[n] if n in reached[o])) for n in left if n in reached[n]}
    return [list(each) for each in sorted(found)]


def test_no_circle_is_left() -> None:
    """Types count: a circle of types is a missing protocol, or a value in the wrong file."""
    assert circles({name: targets for name, targets in arrows().items() if name}) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}) == [["a", "b", "c"]]


@pytest.mark.parametrize("name", sorted(n for n in modules() if n in PURE or n.split(".")[0] in PURE))
def test_the_thinking_does_no_io(name: str) -> None:
    assert not imported_at_run_time(modules()[name]) & NO_IO


OWNED = ("write", "store", "follow", "prove", "replica", "retry", "tokens")
"""Packages in which no task ends without its owner knowing, and no limit of time mistakes a cancellation."""
UNOWNED = re.compile(
    r"(asyncio|loop|asyncio\.get_(running|event)_loop\(\))"
    r"\.(create_task|ensure_future|TaskGroup|wait_for|gather|shield|timeout|timeout_at)"
)


@pytest.mark.parametrize("name", sorted(n for n in modules() if n.split(".")[0] in OWNED))
def test_tasks_and_limits_of_time_come_from_one_place(name: str) -> None:
    """``tasks`` has what they need: ``spawn``, ``race``, ``end``, ``to_its_end``, ``Deadline``, ``happens``."""
    called = [ast.unparse(node.func) for node in ast.walk(modules()[name]) if isinstance(node, ast.Call)]
    assert not [function for function in called if UNOWNED.fullmatch(function)]


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
    data = [path for kind in ("*.sql", "*.control") for path in SOURCE.rglob(kind)]
    sql = {str(path.relative_to(SOURCE.parent)) for path in data}
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
    assert f"## {realtime_toolkit.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_public_name_is_there() -> None:
    for name in realtime_toolkit.__all__:
        value = getattr(realtime_toolkit, name)
        assert getattr(value, "__name__", name) == name
    assert set(dir(realtime_toolkit)) == set(realtime_toolkit.__all__)


def test_public_names_are_known_to_type_checkers() -> None:
    tree = modules()[""]
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.name for node in ast.walk(guarded) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert typed == set(realtime_toolkit.__all__) - {"__version__"}


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
