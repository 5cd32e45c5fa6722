"""Where the stack keeps things between runs, and the few settings it reads from the environment.

Cache: binaries and prepared data directories, safe to delete. State: one folder per running stack.
"""

from __future__ import annotations

import os
from pathlib import Path

NAME = "supabase-realtime-toolkit"


def cache_dir() -> Path:
    """``TOOLKIT_CACHE_DIR``, else below ``XDG_CACHE_HOME``, else below ``~/.cache``."""
    return _place("TOOLKIT_CACHE_DIR", "XDG_CACHE_HOME", Path(".cache"))


def state_dir() -> Path:
    """``TOOLKIT_STATE_DIR``, else below ``XDG_STATE_HOME``, else below ``~/.local/state``."""
    return _place("TOOLKIT_STATE_DIR", "XDG_STATE_HOME", Path(".local/state"))


def postgrest_bin() -> Path | None:
    """``POSTGREST_BIN``: a PostgREST to use instead of the one from the npm registry."""
    named = os.environ.get("POSTGREST_BIN")
    return Path(named).expanduser() if named else None


def postgres_choice() -> str:
    """``TOOLKIT_POSTGRES``: which Postgres a stack runs that is told none: as its argument ``postgres``."""
    return os.environ.get("TOOLKIT_POSTGRES") or "embedded"


def postgres_image() -> str:
    """``TOOLKIT_POSTGRES_IMAGE``: what ``postgres="container"`` runs."""
    return os.environ.get("TOOLKIT_POSTGRES_IMAGE") or "postgres:17"


def _place(own: str, base: str, below_home: Path) -> Path:
    if named := os.environ.get(own):
        return Path(named).expanduser().absolute()
    if parent := os.environ.get(base):
        return Path(parent).expanduser().absolute() / NAME
    return Path.home() / below_home / NAME
