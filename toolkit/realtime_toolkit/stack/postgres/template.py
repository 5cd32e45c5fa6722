"""Prepared data directories: made once per content, copied for every start.

Two layers, each keyed by a hash of all that went into it: the base (initdb, the scripts of the baseline),
and the base with a directory of migrations applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit import migrate
from realtime_toolkit.stack.postgres.private import unprivileged_user
from realtime_toolkit.stack.postgres.server import EmbeddedPostgres, init_data

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_toolkit.stack.postgres.binaries import Install
    from realtime_toolkit.stack.postgres.private import OsUser
    from realtime_toolkit.stack.postgres.residue import Claim

_LAYOUT = "2"  # raise it when a prepared directory is made differently
_KEEP_SECONDS = 14 * 24 * 3600
_HERE = Path(__file__).parent
BASELINE = tuple(
    _HERE / "baseline" / f"{part}.sql"
    for part in ("roles", "schemas", "auth", "storage", "webhooks", "realtime", "supautils")
)
"""In order; each relies on what the first one defines for the session."""
UNASKED = {
    name: next((_HERE / "extensions").glob(f"{name}--*.sql"))
    for name in ("supabase_vault", "pg_cron", "pg_net", "pgmq")
}
"""Stand-ins whose names are there without ``create extension``: in a project the dashboard makes them."""


def baseline_key() -> str:
    """Differs whenever the baseline does."""
    scripts = (*BASELINE, *UNASKED.values())
    return hashlib.sha256(b"\0".join(script.read_bytes() for script in scripts)).hexdigest()[:24]


async def apply_baseline(admin_url: str) -> None:
    """Give a fresh database what a Supabase project starts with. Raises :class:`psycopg.Error`."""
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        for script in BASELINE:
            await _execute(connection, script.read_bytes())
        for name, script in UNASKED.items():
            if not await _is_had(connection, name):
                await _execute(connection, script.read_bytes())


async def _is_had(connection: psycopg.AsyncConnection[tuple[Any, ...]], extension: str) -> bool:
    """Whether it was created, or the server has the genuine one, which must find its names free."""
    found = await connection.execute(
        "select from pg_available_extensions where name = %s"
        " and (installed_version is not null or comment not like '%%stand-in of the local stack%%')",
        [extension],
    )
    return found.rowcount > 0


async def _execute(connection: psycopg.AsyncConnection[tuple[Any, ...]], script: bytes) -> None:
    """One transaction; once more where another start changed the same role of a shared cluster meanwhile."""
    for _ in range(5):
        try:
            await connection.execute(script)
        except (psycopg.errors.InternalError_, psycopg.errors.UniqueViolation) as error:
            if "concurrently" not in str(error) and not isinstance(error, psycopg.errors.UniqueViolation):
                raise
            last = error
        else:
            return
    raise last


async def apply_migrations(database_url: str, directory: Path) -> None:
    """Apply what is pending. Raises :class:`~realtime_toolkit.errors.MigrationError`."""
    await asyncio.to_thread(migrate.apply_all, database_url, directory)


async def forget_origin(admin_url: str) -> None:
    """A copy is a history of its own: cursors of the original must not count in it."""
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        known = await connection.execute("select to_regclass('realtime_toolkit.origin') is not null")
        if await known.fetchone() == (True,):
            await connection.execute("update realtime_toolkit.origin set id = gen_random_uuid()")


class Templates:
    """The prepared directories of one Postgres version below ``cache``."""

    def __init__(
        self, install: Install, cache: Path, claim: Claim, scratch: Path, *, superuser: bool = True
    ) -> None:
        self._install = install
        self._folder = cache / "data"
        self._claim = claim
        self._scratch = scratch
        self._superuser = superuser

    async def base(self) -> Path:
        """Without any migration."""
        target = self._folder / f"base-{self._base_key()}"
        if not _used(target):
            async with self._building(target) as building:
                await asyncio.to_thread(init_data, self._install, building)
                async with self._serving(building) as server:
                    await apply_baseline(server.admin_url)
        return target

    async def migrated(self, directory: Path) -> Path:
        """With the migrations of a directory. Raises :class:`~realtime_toolkit.errors.MigrationError`."""
        target = self._folder / f"migrated-{self._migrated_key(directory)}"
        if not _used(target):
            base = await self.base()
            async with self._building(target) as building:
                await asyncio.to_thread(copy_data, base, building)
                async with self._serving(building) as server:
                    await apply_migrations(server.database_url, directory)
        return target

    def _base_key(self) -> str:
        made_of = f"{_LAYOUT}\0{self._install.release}\0{self._install.version}\0{baseline_key()}"
        return hashlib.sha256(made_of.encode()).hexdigest()[:24]

    def _migrated_key(self, directory: Path) -> str:
        digest = hashlib.sha256(f"{self._base_key()}\0{self._superuser}".encode())
        for file in sorted(directory.glob("*.sql")):
            digest.update(b"\0" + file.name.encode() + b"\0" + file.read_bytes())
        digest.update(migrate.inputs(directory))
        return digest.hexdigest()[:24]

    @contextlib.asynccontextmanager
    async def _building(self, target: Path) -> AsyncIterator[Path]:
        """A folder that becomes ``target`` if all goes well, and nothing otherwise."""
        building = self._scratch / target.name
        try:
            yield building
            await asyncio.to_thread(self._keep, building, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, building, ignore_errors=True)

    def _keep(self, building: Path, target: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        _drop_unused(self._folder)
        arriving = self._folder / f".{self._claim.name}-{target.name}"
        self._claim.note(folders=[str(arriving)])
        try:
            move_data(building, arriving)
            with contextlib.suppress(OSError):  # another start was faster
                arriving.rename(target)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def _serving(self, data: Path) -> AsyncIterator[EmbeddedPostgres]:
        log = self._claim.path / "template.log"
        # fsync off while it is filled; stopped in an orderly way all the same, for the copy must be whole.
        # Nobody else gets in meanwhile, and no password is in it: what is planted here would be in every later stack.
        server = EmbeddedPostgres(
            self._install,
            data,
            password=None,
            tcp=False,
            log=log,
            superuser=self._superuser,
            orderly=True,
        )
        try:
            await server.start()
            self._claim.note_process(server.identity)
            yield server
        finally:
            await server.stop()


def _used(target: Path) -> bool:
    """Whether it is there; if so, noted as used now."""
    try:
        os.utime(target)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _drop_unused(folder: Path) -> None:
    for path in folder.iterdir():
        if not path.name.startswith(".") and path.stat().st_mtime < time.time() - _KEEP_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def move_data(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_data(source, target)


def copy_data(source: Path, target: Path) -> None:
    """Copy a stopped server's data directory: by reference where the file system can, else in the kernel."""
    _copy_folder(source, target, unprivileged_user())


def _copy_folder(source: Path, target: Path, owner: OsUser | None) -> None:
    target.mkdir(mode=0o700)
    if owner is not None:
        os.chown(target, owner.uid, owner.gid)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _copy_folder(source / entry.name, target / entry.name, owner)
            else:
                _copy_file(entry.path, target / entry.name, owner)


def _copy_file(source: str, target: Path, owner: OsUser | None) -> None:
    reading = os.open(source, os.O_RDONLY)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
        try:
            if owner is not None:
                os.fchown(writing, owner.uid, owner.gid)
            _copy_bytes(reading, writing)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from None
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_bytes(reading: int, writing: int) -> None:
    if hasattr(os, "copy_file_range"):
        left = os.fstat(reading).st_size
        with contextlib.suppress(_CannotClone):
            while left > 0 and (copied := _clone(reading, writing, left)):
                left -= copied
            return
    while chunk := os.read(reading, 1 << 20):
        os.write(writing, chunk)


class _CannotClone(Exception):
    pass


def _clone(reading: int, writing: int, length: int) -> int:
    try:
        return os.copy_file_range(reading, writing, length)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise _CannotClone from None
        raise
