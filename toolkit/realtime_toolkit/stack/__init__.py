"""The local Supabase, for development and tests: real Postgres, real PostgREST, a faithful Realtime server.

    async with LocalStack(migrations=Path("supabase/migrations")) as stack:
        client = await supabase.acreate_client(stack.url, stack.anon_key)

Needs the extra ``stack``. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import ConfigError

if TYPE_CHECKING:
    from realtime_toolkit.stack.local import LocalStack, running_stack

__all__ = ["LocalStack", "running_stack"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from realtime_toolkit.stack import local
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("realtime_toolkit"):
            raise
        if error.name in ("fcntl", "pwd"):
            raise ConfigError("the local stack runs on Linux and macOS (on Windows: in WSL)") from None
        raise ConfigError(
            f"the local stack needs {error.name!r}: pip install 'supabase-realtime-toolkit[stack]'"
        ) from None
    return getattr(local, name)
