"""What keeps others on the machine out: modes of files, the account that Postgres runs as, and whom that lets in."""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class OsUser:
    """Whom to run as: Postgres refuses to run as root."""

    uid: int
    gid: int


def unprivileged_user() -> OsUser | None:
    """``None`` when not root. No account is created: an existing harmless one is used."""
    if os.name != "posix" or os.geteuid() != 0:
        return None
    for name in ("pgserver", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return OsUser(entry.pw_uid, entry.pw_gid)
    return OsUser(65534, 65534)


def give(path: Path, user: OsUser | None) -> None:
    """Make it the server's own, where that runs as somebody else."""
    if user is not None:
        os.chown(path, user.uid, user.gid)


def folder(path: Path, user: OsUser | None = None) -> Path:
    """A new folder of mode 0700."""
    path.mkdir(mode=0o700)
    give(path, user)
    return path


def write_private(file: Path, text: str, user: OsUser | None = None) -> None:
    """All of it or nothing, readable by its owner only."""
    draft = file.with_name(f".{file.name}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as writing:
            writing.write(text)
        give(draft, user)
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(file)) from None


def write_access(data: Path, roles: Sequence[str], *, over_tcp: str | None) -> None:
    """Who may connect to the server of this data directory: over its socket only who started it, as any of ``roles``;
    from the address ``over_tcp`` whoever has a password.

    Not the account that the server runs as, which other services may share (``nobody``).
    """
    user, owner = unprivileged_user(), pwd.getpwuid(os.geteuid()).pw_name
    rules = "local all all peer map=owner\n"
    if over_tcp is not None:
        rules += f"host all,replication all {over_tcp}/32 scram-sha-256\n"
    write_private(data / "pg_ident.conf", "".join(f'owner "{owner}" {role}\n' for role in roles), user)
    write_private(data / "pg_hba.conf", rules, user)


def open_log(file: Path) -> int:
    """A descriptor to append to a log: what is logged may quote data."""
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def reachable(path: Path, user: OsUser | None) -> bool:
    """Whether every folder (there is) on the way to ``path`` lets ``user`` through."""
    if user is None:
        return True
    parents = path.resolve().parents
    return all(_lets_through(parent.stat(), user) for parent in parents if parent.exists())


def _lets_through(status: os.stat_result, user: OsUser) -> bool:
    if status.st_uid == user.uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid == user.gid else 0o001))


@contextlib.contextmanager
def as_seen_by(directory: Path, user: OsUser | None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A path under which ``user`` can open ``directory``, and the descriptors its process must inherit.

    Below a private folder (pytest's temporary ones, ``/root``) an inherited descriptor is the way in:
    nobody's permissions are changed.
    """
    if reachable(directory, user):
        yield str(directory), ()
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)
