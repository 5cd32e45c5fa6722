"""The statements over PostgREST: for whoever has a project's key and no database login."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import httpx

from realtime_toolkit.errors import (
    ConfigError,
    InputError,
    StoreUnavailable,
    ToolkitError,
    Unauthorized,
    Unreachable,
)
from realtime_toolkit.exact import loads
from realtime_toolkit.store.failures import error_for, one_line
from realtime_toolkit.store.statements import PAGE, Filter, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from realtime_toolkit.model import Row

_OVERLOADED = {408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
_UNREADY = {
    "PGRST000",
    "PGRST001",
    "PGRST002",
    "PGRST003",
}  # no database, no schema cache, no free connection


class RestStore(Store):
    """Over PostgREST at ``url`` (the project's address, without ``/rest/v1``).

    ``apikey`` is the project's key (anon, service_role, ``sb_publishable_…``, ``sb_secret_…``). ``token``
    is called before every request for the user's access token, and may be async; without it the key
    alone says who calls. ``timeout`` seconds is the longest to wait for an answer.
    """

    def __init__(
        self,
        url: str,
        apikey: str,
        token: Callable[[], str | Awaitable[str]] | None = None,
        *,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        connections: int = 10,
    ) -> None:
        self.where = _http_address(url)
        self._apikey = apikey
        self._token = token
        self._client = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/rest/v1/",
            timeout=httpx.Timeout(timeout, connect=connect_timeout),
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=30.0),
        )

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
        made = self._read(
            what, loads, (await self._request(what, "POST", table, body=row, prefer=prefer)).content
        )
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
        rows: list[Row] = self._read(
            what, loads, (await self._request(what, "GET", table, query=query)).content
        )
        return rows

    async def _delete(self, table: str, *where: Filter) -> int:
        what = f"delete from {table}"
        answer = await self._request(what, "DELETE", table, query=_query(where), prefer="count=exact")
        return int(answer.headers.get("content-range", "*/0").rpartition("/")[2])

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
        headers = await self._headers(prefer)
        try:
            content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
            answer = await self._client.request(method, path, params=query, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise _transport_error(what, error) from error
        except UnicodeEncodeError as error:
            raise InputError(f"{what}: {one_line(str(error))}") from error
        if answer.is_error:
            raise _answer_error(what, answer)
        return answer

    async def _headers(self, prefer: str | None) -> dict[str, str]:
        token = self._apikey if self._token is None else self._token()
        if inspect.isawaitable(token):
            token = await token
        headers = {
            "apikey": self._apikey,
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        return headers if prefer is None else {**headers, "Prefer": prefer}


def _transport_error(what: str, error: httpx.HTTPError) -> ToolkitError:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return Unreachable(f"{what}: cannot be reached: {one_line(str(error)) or 'no answer in time'}")
    if isinstance(error, httpx.UnsupportedProtocol):
        return ConfigError(f"{what}: {one_line(str(error))}")
    if isinstance(error, httpx.TimeoutException):
        return StoreUnavailable(f"{what}: no answer in time; it may have happened or not")
    detail = one_line(str(error)).rstrip(".") or "the connection was lost"
    return StoreUnavailable(f"{what}: {detail}; it may have happened or not")


def _answer_error(what: str, answer: httpx.Response) -> ToolkitError:
    """PostgREST answers with a JSON object whose ``code`` is the SQLSTATE or its own; a gateway need not."""
    code, detail = _explanation(answer)
    if code is not None and not code.startswith("PGRST"):
        return error_for(code, what, detail)
    line = f"{what}: {one_line(detail)}"
    if answer.status_code in (401, 403):
        return Unauthorized(line)
    if answer.status_code in _OVERLOADED or code in _UNREADY:
        return StoreUnavailable(line)
    return error_for(code, what, detail)


def _explanation(answer: httpx.Response) -> tuple[str | None, str]:
    status = f"HTTP {answer.status_code} {answer.reason_phrase}"
    try:
        body = answer.json()
    except ValueError:
        return None, status
    if not isinstance(body, dict):
        return None, status
    code, message = body.get("code"), body.get("message") or body.get("error") or body.get("msg")
    return (code if isinstance(code, str) else None), str(message or status)


def _query(where: Sequence[Filter]) -> httpx.QueryParams:
    return httpx.QueryParams([(column, f"{operator}.{value}") for column, operator, value in where])


def _http_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"not an http(s) address: {parts.scheme}://{parts.netloc.rpartition('@')[2]}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
