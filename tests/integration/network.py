"""The network between a project and us, at its worst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from realtime_toolkit.stack.realtime.proxy import TcpProxy
from realtime_toolkit.store import PostgresStore, RestStore

if TYPE_CHECKING:
    from realtime_toolkit.store import Store

PORTS = {"http": 80, "postgres": 5432, "postgresql": 5432}


def proxy_to(stack: Any, transport: str = "rest") -> TcpProxy:
    """In front of the project's web address, or of its database."""
    parts = urlsplit(stack.url if transport == "rest" else stack.database_url)
    if parts.scheme == "https":
        pytest.skip("cuts the network in a plain proxy, and this project has a certificate for its own name")
    assert parts.hostname is not None
    return TcpProxy(parts.hostname, parts.port or PORTS[parts.scheme])


def address(proxy: TcpProxy) -> str:
    """The project's web address, through the proxy."""
    return f"http://127.0.0.1:{proxy.port}"


def through(proxy: TcpProxy, stack: Any, transport: str, **options: Any) -> Store:
    """A service's store that reaches the project through the proxy."""
    if transport == "rest":
        return RestStore(address(proxy), stack.service_role_key, **options)
    parts = urlsplit(stack.database_url)
    netloc = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
    return PostgresStore(parts._replace(netloc=netloc).geturl(), **options)
