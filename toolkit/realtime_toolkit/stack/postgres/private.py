"""Files and folders that nobody else on the machine can read, and the account that Postgres runs as."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    import pwd

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


def open_log(file: Path) -> int:
    """A descriptor to append to a log: what is logged may quote data."""
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
