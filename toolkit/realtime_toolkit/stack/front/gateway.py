"""The stack's one port: an ASGI app that does for the services what a project's API gateway does.

It refuses foreign host names, checks the API key, lets an opaque key stand for its JWT, answers CORS preflights, and passes
``/rest/v1`` on to PostgREST as a stream. ``/auth/v1`` and ``/realtime/v1`` are apps of their own.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import httpx

from realtime_toolkit.stack.front.hosts import admits
from realtime_toolkit.stack.front.safeupdate import refusal, whole_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from realtime_toolkit.stack.auth.keys import Keys

Header = tuple[bytes, bytes]

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
_METHODS = b"GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT"
_EXPOSED = (
    b"Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, "
    b"Transfer-Encoding, Range-Unit, X-Total-Count, Link, X-Supabase-Api-Version"
)
# Addresses that a mail or a provider leads to, and public keys: nobody has an API key there.
_OPEN = ("/auth/v1/verify", "/auth/v1/callback", "/auth/v1/authorize", "/auth/v1/.well-known/")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the gateway answers instead of a service."""

    status: int
    body: Mapping[str, str | None]


NO_KEY = Refusal(
    401,
    {
        "message": "No API key found in request",
        "hint": "No `apikey` request header or url param was found.",
    },
)
WRONG_KEY = Refusal(
    401,
    {
        "message": "Invalid API key",
        "hint": "Double check your Supabase `anon` or `service_role` API key.",
    },
)
NO_ROUTE = Refusal(404, {"message": "no Route matched with those values"})
WRONG_HOST = Refusal(
    421,
    {"message": "This host name is not one of the stack's", "hint": "stack up --allow-host NAME allows it."},
)
NOT_AN_ADDRESS = Refusal(400, {"message": "not a valid address"})
NO_UPSTREAM = Refusal(503, {"message": "name resolution failed"})


def bearer(headers: Mapping[bytes, bytes], query: bytes, keys: Keys) -> str | Refusal:
    """The value of ``Authorization`` that a service gets to see, or why the request goes no further. Pure.

    The key comes in the header or the parameter ``apikey``. Without ``Authorization``, or with the key
    itself in it, the key's JWT takes its place; anything else (a user's token) is passed on as it is.
    """
    api_key = headers.get(b"apikey", b"").decode("latin-1") or dict(parse_qsl(query.decode("latin-1"))).get(
        "apikey"
    )
    if not api_key:
        return NO_KEY
    token = keys.jwt_for(api_key)
    if token is None:
        return WRONG_KEY
    sent = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, value = sent.partition(" ")
    if scheme.lower() == "bearer" and (known := keys.opaque.get(value.strip())):
        token = known
    elif sent:
        return sent
    return f"Bearer {token}"


class Gateway:
    """ASGI app of the whole stack."""

    def __init__(
        self,
        keys: Keys,
        *,
        rest: ASGIApp,
        auth: ASGIApp,
        realtime: ASGIApp | None = None,
        admin: ASGIApp | None = None,
        hosts: Collection[str] = (),
    ) -> None:
        self._keys = keys
        self._hosts = hosts
        self._guarded = {"/rest/v1": rest, "/auth/v1": auth}
        if admin is not None:
            self._guarded["/toolkit/v1"] = admin
        self.realtime = realtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not admits(hosts, self._hosts):
            await refuse(send, WRONG_HOST)
            return
        headers = dict(scope["headers"])
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(headers, send)
            return
        send = _with_cors(send)
        if self.realtime is not None and _below(scope, "/realtime/v1"):
            await self.realtime(scope, receive, send)  # checks keys itself, as the genuine server does
            return
        await self._pass(scope, receive, send, headers)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        prefix = next((prefix for prefix in self._guarded if _below(scope, prefix)), None)
        if prefix is None:
            await refuse(send, NO_ROUTE)
            return
        if not scope["path"].startswith(_OPEN):
            authorization = bearer(headers, scope["query_string"], self._keys)
            if isinstance(authorization, Refusal):
                await refuse(send, authorization)
                return
            scope = _authorized(scope, authorization)
        await self._guarded[prefix](_stripped(scope, prefix), receive, send)


def _below(scope: Scope, prefix: str) -> bool:
    """By the address as it was sent: ``/rest%2Fv1`` is no prefix of ours, and could not be cut off."""
    raw = _raw_path(scope)
    return raw == prefix.encode() or raw.startswith(f"{prefix}/".encode())


def _raw_path(scope: Scope) -> bytes:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw


def _authorized(scope: Scope, authorization: str) -> Scope:
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"authorization", b"apikey")]
    query = scope["query_string"]
    if b"apikey=" in query:  # PostgREST would take it for a filter
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        query = urlencode([pair for pair in pairs if pair[0] != "apikey"]).encode()
    return {
        **scope,
        "headers": [*kept, (b"authorization", authorization.encode("latin-1"))],
        "query_string": query,
    }


def _stripped(scope: Scope, prefix: str) -> Scope:
    return {
        **scope,
        "path": scope["path"][len(prefix) :] or "/",
        "raw_path": _raw_path(scope)[len(prefix) :] or b"/",
    }


async def refuse(send: Send, refusal: Refusal) -> None:
    body = json.dumps(refusal.body).encode()
    headers: list[Header] = [(b"content-type", b"application/json; charset=utf-8")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _preflight(headers: Mapping[bytes, bytes], send: Send) -> None:
    """Answered without a key: a browser sends none. What it asks for is allowed, as on a project."""
    wanted = headers.get(b"access-control-request-headers", b"*")
    answer = [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", wanted),
        (b"access-control-max-age", b"3600"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": answer})
    await send({"type": "http.response.body", "body": b""})


def _with_cors(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if not pair[0].lower().startswith(b"access-control-")]
            cors = [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
            message = {**message, "headers": [*kept, *cors]}
        await send(message)

    return sending


class RestProxy:
    """ASGI app that passes requests to PostgREST's unix socket, bodies streamed both ways; none that is for a whole table."""

    def __init__(self, socket: Path) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
        self._transport = httpx.AsyncHTTPTransport(uds=str(socket), limits=limits)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode("latin-1")
        statement = whole_table(scope["method"], scope["path"], query, dict(scope["headers"]))
        try:
            request = _upstream_request(scope, receive) if statement is None else _question(scope)
        except (httpx.InvalidURL, UnicodeError):
            await refuse(send, NOT_AN_ADDRESS)
            return
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError:
            await refuse(send, NO_UPSTREAM)
            return
        try:
            await _relay(response if statement is None else await _instead(response, statement), send)
        finally:
            await asyncio.shield(response.aclose())


def _question(scope: Scope) -> httpx.Request:
    """Whether the token is good and the table there: PostgREST and the parser look at those before the library does."""
    url = httpx.URL(scheme="http", host="postgrest", raw_path=scope["raw_path"] + b"?limit=0")
    kept = (b"authorization", b"accept-profile")
    headers = [(name, value) for name, value in scope["headers"] if name in kept]
    headers += [(b"accept-profile", value) for name, value in scope["headers"] if name == b"content-profile"]
    return httpx.Request("GET", url, headers=headers)


async def _instead(response: httpx.Response, statement: str) -> httpx.Response:
    """The answer to the question, where the request would have been told the same; else the library's refusal."""
    content = await response.aread()
    code = str(json.loads(content).get("code")) if response.is_error else ""
    if code.startswith("PGRST") or code == "42P01":
        return httpx.Response(response.status_code, headers=response.headers, content=content)
    return httpx.Response(400, json=refusal(statement))


def _upstream_request(scope: Scope, receive: Receive) -> httpx.Request:
    target = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    url = httpx.URL(scheme="http", host="postgrest", raw_path=target)
    has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
    content = _body(receive) if has_body else None
    return httpx.Request(scope["method"], url, headers=_forwarded(scope["headers"]), content=content)


def _forwarded(headers: Iterable[Header]) -> list[Header]:
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise httpx.ReadError("the client went away")  # never pass half a body on as if it were whole
        more = message.get("more_body", False)
        if chunk := message.get("body", b""):
            yield chunk


async def _relay(response: httpx.Response, send: Send) -> None:
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": response.status_code,
        # The front puts its own date on every answer.
        "headers": [pair for pair in _forwarded(response.headers.raw) if pair[0].lower() != b"date"],
    }
    await send(start)
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    async for chunk in stream:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
