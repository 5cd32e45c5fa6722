"""The statements over PostgREST: for whoever has a project's key and no database login."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import httpx

from realtime_toolkit.errors import (
    ConfigError,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    ToolkitError,
    Unreachable,
)
from realtime_toolkit.exact import loads
from realtime_toolkit.store.answers import answer_error, plain
from realtime_toolkit.store.failures import one_line
from realtime_toolkit.store.statements import PAGE, Filter, Store
from realtime_toolkit.tasks import Deadline, NotOursError, theirs
from realtime_toolkit.tokens import TokenSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from realtime_toolkit.model import Row
    from realtime_toolkit.tokens import Token

_OPAQUE = "sb_"  # sb_publishable_…, sb_secret_…: no JWT, so nothing for the header Authorization
_DRIPPING = 10.0
"""Times ``timeout``: how long an answer may go on arriving."""


class RestStore(Store):
    """Over PostgREST at ``url`` (the project's address, without ``/rest/v1``).

    ``apikey`` is the project's key (anon, service_role, ``sb_publishable_…``, ``sb_secret_…``). ``token`` is the
    user's access token: a JWT, a callable that gives one, asked before every request (sync or async, at most
    10 s), or ``None``: then the key alone says who calls. A refused token is retryable where it is a callable, which is
    asked again, and final where it is fixed. ``timeout`` seconds is the longest to wait for an answer.
    """

    def __init__(
        self,
        url: str,
        apikey: str,
        token: Token = None,
        *,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        connections: int = 10,
    ) -> None:
        self.where = _http_address(url)
        self._apikey = _checked_key(apikey)
        self._token = TokenSource(token)
        self._longest = connect_timeout + _DRIPPING * timeout
        self._client = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/rest/v1/",
            timeout=httpx.Timeout(timeout, connect=connect_timeout),
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=30.0),
        )

    def __repr__(self) -> str:
        return f"<RestStore {self.where}{', closed' if self._client.is_closed else ''}>"

    async def __aenter__(self) -> Self:
        """Connects to nothing yet: each call says for itself what is wrong."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def _run(self, function: str, args: Mapping[str, Any]) -> bytes:
        return (await self._request(function, "POST", f"rpc/{function}", body=args)).content

    async def _insert(self, table: str, row: Row) -> Row | None:
        what = f"insert into {table}"
        prefer = "return=representation,resolution=ignore-duplicates"
        made = self._rows(what, await self._request(what, "POST", table, body=row, prefer=prefer))
        return made[0] if made else None

    async def _select(
        self,
        table: str,
        *where: Filter,
        columns: Sequence[str] = (),
        order: str | None = None,
        limit: int = PAGE,
    ) -> list[Row]:
        query = _query(where).set("select", ",".join(columns) or "*").set("limit", limit)
        if order:
            query = query.set("order", order)
        what = f"select from {table}"
        return self._rows(what, await self._request(what, "GET", table, query=query))

    async def _delete(self, table: str, *where: Filter) -> int:
        what = f"delete from {table}"
        answer = await self._request(what, "DELETE", table, query=_query(where), prefer="count=exact")
        count = answer.headers.get("content-range", "*/0").rpartition("/")[2]
        return int(count) if count.isdecimal() else 0

    async def _request(
        self,
        what: str,
        method: str,
        path: str,
        *,
        query: httpx.QueryParams | None = None,
        body: Mapping[str, Any] | None = None,
        prefer: str | None = None,
    ) -> httpx.Response:
        what = f"{what} at {self.where}"
        if self._client.is_closed:
            raise StoreClosed(f"{what}: the store is closed")
        headers = await self._headers(prefer)
        content = None if body is None else json.dumps(body, ensure_ascii=False, default=str).encode()
        request = self._client.build_request(method, path, params=query, content=content, headers=headers)
        try:
            async with Deadline(self._longest):
                answer = await theirs(lambda: self._client.send(request), "the request")
        except Exception as error:
            raise _transport_error(what, error) from error
        if not answer.is_success:
            sent = [*(body or {}).values(), *(value.partition(".")[2] for _, value in (query or {}).items())]
            raise answer_error(what, plain(answer), renewable=self._token.renewable, sent=sent)
        return answer

    async def _headers(self, prefer: str | None) -> dict[str, str]:
        bearer = await self._token.current() or self._apikey
        headers = {"apikey": self._apikey, "Content-Type": "application/json"}
        if not bearer.startswith(_OPAQUE):
            headers["Authorization"] = f"Bearer {bearer}"
        return headers if prefer is None else {**headers, "Prefer": prefer}

    def _rows(self, what: str, answer: httpx.Response) -> list[Row]:
        rows: list[Row] = self._typed(what, self._read(what, loads, answer.content), list)
        if not all(isinstance(row, dict) for row in rows):
            raise StoreError(f"{what} at {self.where}: the answer is no list of rows")
        return rows


def _transport_error(what: str, error: Exception) -> ToolkitError:
    if isinstance(error, MemoryError | ToolkitError):
        raise error
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return Unreachable(f"{what}: cannot be reached: {one_line(str(error)) or 'no answer in time'}")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return ConfigError(f"{what}: {one_line(str(error))}")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return StoreUnavailable(f"{what}: no answer in time; it may have happened or not")
    if isinstance(error, httpx.HTTPError | NotOursError):
        detail = one_line(str(error)).rstrip(".") or "the connection was lost"
    else:
        detail = type(error).__name__  # a bug below us; its text may be anything
    return StoreUnavailable(f"{what}: {detail}; it may have happened or not")


def _query(where: Sequence[Filter]) -> httpx.QueryParams:
    return httpx.QueryParams([(column, f"{operator}.{value}") for column, operator, value in where])


def _checked_key(apikey: str) -> str:
    if not isinstance(apikey, str):
        raise ConfigError(f"apikey is the project's key, not {type(apikey).__name__}")
    if not re.fullmatch(r"[\x21-\x7e]+", apikey):
        raise ConfigError("apikey is no key: it is empty, or has characters that no header takes")
    return apikey


def _http_address(url: str) -> str:
    wrong = "not an http(s) address"
    try:
        parts = urlsplit(url)
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        httpx.URL(url)
    except (ValueError, AttributeError, TypeError, httpx.InvalidURL) as error:
        raise ConfigError(f"{wrong}: {type(error).__name__}") from None  # its text may quote a password
    if not sound:
        raise ConfigError(f"{wrong}: {address}")
    return address
