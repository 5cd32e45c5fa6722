"""What a start takes for itself before anything runs: the port, a folder for passing things, the data folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError, PortInUse
from realtime_toolkit.stack.postgres.private import unprivileged_user
from realtime_toolkit.stack.postgres.server import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.stack.postgres.residue import Claim

KEYS_FILE = "keys.json"
_LOCK_FILE = "lock"
_SCRATCH_MAX = 60


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """The stack's one port, taken before anything is started."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # asyncio does it only for sockets made with a protocol number; without it answers wait 40 ms for an ACK.
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            taken.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(f"port {port} on {HOST} is already in use") from None
            raise ConfigError(f"cannot listen on {HOST}:{port}: {error.strerror}") from None
        taken.listen(2048)
        yield taken


@contextlib.contextmanager
def scratch(claim: Claim) -> Iterator[Path]:
    """A private folder with a short path: the address of a unix socket has room for about 100 bytes.

    In the system's folder for temporary files, as everything in it is; locked, for systemd-tmpfiles
    clears away what has been there for days, but passes over folders that somebody has locked.
    """
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="srt-", dir=base if len(base) < _SCRATCH_MAX else "/tmp"))
    claim.note(folders=[str(folder)])
    if unprivileged_user() is not None:
        folder.chmod(
            0o711
        )  # the server passes through to what is its own, and can neither look around nor replace
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """A persistent stack's folder, made if missing, for one stack at a time."""
    with contextlib.suppress(FileExistsError):
        data_dir.mkdir(parents=True, mode=0o700)
    if not data_dir.is_dir():
        raise ConfigError(f"not a folder: {data_dir}")
    if not (data_dir / KEYS_FILE).exists() and any(path.name != _LOCK_FILE for path in data_dir.iterdir()):
        raise ConfigError(f"{data_dir} is not empty and does not hold a stack's data")
    lock = os.open(data_dir / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{data_dir} is in use by another running stack") from None
        yield
    finally:
        os.close(lock)
