"""What `realtime_toolkit.stack` gives, what it needs for that, and what it tells of itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from realtime_toolkit import stack as package
from realtime_toolkit.stack import Limits, LocalStack, TcpProxy, running_stack

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(ROOT / "toolkit/realtime_toolkit/stack").rglob("*.py"),
    *(ROOT / "toolkit/realtime_toolkit/wal").rglob("*.py"),
]


def test_public_names() -> None:
    assert set(dir(package)) == set(package.__all__) == {"Limits", "LocalStack", "TcpProxy", "running_stack"}
    assert [each.__name__ for each in (Limits, LocalStack, TcpProxy, running_stack)] == package.__all__
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, realtime_toolkit.stack; print({'uvicorn', 'starlette', 'psycopg'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def imported() -> set[str]:
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"realtime_toolkit"}


def test_the_extra_has_all_that_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["stack"], *extras["container"]]
    wanted = {re.split(r"[\[<>=;, ]", line)[0].lower() for line in named}
    of_module = metadata.packages_distributions()
    missing = [
        name
        for name in imported() - {"docker"}  # a part of testcontainers
        if not {each.lower() for each in of_module.get(name, ["?"])} & wanted
    ]
    assert missing == []
    assert "httptools" in wanted  # uvicorn's protocol, by which the front server is made


def test_a_stack_says_where_it_is_but_no_secret(stack: LocalStack, tmp_path: Path) -> None:
    assert repr(stack).startswith(f"<LocalStack running at {stack.url}")
    assert not any(secret in repr(stack) for secret in stack.keys.dump().values())
    assert repr(LocalStack(data_dir=tmp_path / "x")) == f"<LocalStack not running, data in {tmp_path / 'x'}>"
