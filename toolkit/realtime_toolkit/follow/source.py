"""What a listener needs of the database: the scope, read as its subscriber."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_toolkit.model import Digest, Glance, Scope, SyncedRow, SyncPage, TrackedTable


class Source(Protocol):
    """Both stores of :mod:`realtime_toolkit.store` are one.

    Raises errors of the tree only: retryable ones are retried, :class:`~realtime_toolkit.errors.Unauthorized` with the
    next token. It must read the primary: a replica of the database that lags is behind the stream.
    """

    async def tables(self, kind: str) -> tuple[TrackedTable, ...]: ...

    async def sync(
        self,
        scope: Scope,
        since: int | None,
        epoch: str | None,
        page_size: int = ...,
        after: str | None = ...,
    ) -> SyncPage: ...

    async def digest(
        self, scope: Scope, prefixes: Sequence[str] = ..., salt: str = ...
    ) -> dict[str, Digest]: ...

    async def glance(self, scope: Scope, whole: bool = ...) -> Glance: ...

    async def rows(
        self, scope: Scope, prefixes: Sequence[str], keys_only: bool = ...
    ) -> tuple[int, tuple[SyncedRow, ...]]: ...


class Watermarks(Source, Protocol):
    """What reconciliation needs beside."""

    async def watermark(self, user_id: str, mark: str) -> str: ...

    async def clear_watermarks(self, user_id: str, older_than: float) -> int: ...
