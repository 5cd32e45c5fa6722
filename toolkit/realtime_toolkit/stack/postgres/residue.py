"""One folder per running stack, and the removal of what a killed one left behind.

The owner holds an ``flock`` on its folder for as long as it lives; the kernel lets go of it however the
process ends. So a folder whose lock is free belongs to nobody, and what its record names may be ended and
deleted: processes by pid *and* start time, folders, a container, a database.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

from realtime_toolkit.stack.postgres.process import ProcessId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_RECORD = "stack.json"
_LOCK = "lock"
_PATIENCE = 3.0
_FORGET_AFTER = 24 * 3600

log = logging.getLogger(__name__)


class Claim:
    """A running stack's folder: ``path`` for its files, :meth:`note` for what must not outlive it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._facts: dict[str, Any] = {"owner": os.getpid(), "started": time.time()}

    @classmethod
    def make(cls, state: Path) -> Claim:
        runs = state / "run"
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = secrets.token_hex(6)
        making = runs / f".{name}"  # a sweep passes it over until it is locked and has its name
        making.mkdir(mode=0o700)
        lock = os.open(making / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        making.rename(runs / name)
        return cls(runs / name, lock)

    @property
    def name(self) -> str:
        return self.path.name

    def note(self, **facts: Any) -> None:
        """Add to the record; lists of ``processes`` and ``folders`` are extended."""
        for key, value in facts.items():
            if isinstance(value, list):
                value = [*self._facts.get(key, []), *value]
            self._facts[key] = value
        draft = self.path / f"{_RECORD}.new"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._facts, file)
        draft.rename(self.path / _RECORD)

    def note_process(self, process: ProcessId | None) -> None:
        if process is not None:
            self.note(processes=[{"pid": process.pid, "started": process.started}])

    def release(self) -> None:
        """Remove the folder; whatever it named has been ended by now."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def records(state: Path) -> list[dict[str, Any]]:
    """The records of the stacks that are running now, the newest first."""
    found = []
    for folder in _folders(state):
        with _unowned(folder) as lock:
            if lock is None and (facts := _read(folder)):
                found.append(facts)
    return sorted(found, key=lambda facts: float(facts["started"]), reverse=True)


def sweep(state: Path, undo: Callable[[dict[str, Any]], None] = lambda facts: None) -> list[str]:
    """End and delete what dead stacks left; returns their names.

    ``undo`` is given each record; where it fails (a database server that is down), the record is kept for
    the next sweep, for a day.
    """
    swept = []
    for folder in _folders(state):
        with _unowned(folder) as lock:
            if lock is not None and _sweep_one(folder, undo):
                swept.append(folder.name)
    return swept


def _sweep_one(folder: Path, undo: Callable[[dict[str, Any]], None]) -> bool:
    facts = _read(folder)
    _end([ProcessId(item["pid"], item["started"]) for item in facts.get("processes", [])])
    for path in facts.get("folders", []):
        shutil.rmtree(path, ignore_errors=True)
    try:
        undo(facts)
    except Exception as error:  # whatever it is, this start must not fail for an earlier one's sake
        log.warning("what the killed stack %s left is not all removed: %s", folder.name, error)
        if time.time() - facts.get("started", 0) < _FORGET_AFTER:
            return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _folders(state: Path) -> list[Path]:
    runs = state / "run"
    if not runs.is_dir():
        return []
    return [path for path in sorted(runs.iterdir()) if path.is_dir() and not path.name.startswith(".")]


@contextlib.contextmanager
def _unowned(folder: Path) -> Iterator[int | None]:
    """The folder's lock if nobody had it; ``None`` if its owner lives (or another sweep is at it)."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        yield None
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield None
    else:
        yield lock
    finally:
        os.close(lock)


def _read(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / _RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _end(processes: list[ProcessId]) -> None:
    """SIGQUIT (Postgres shuts down at once and removes its own leftovers), then SIGKILL."""
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.kill(signal.SIGQUIT)
    while any(process.alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in processes:
        process.kill(signal.SIGKILL)
