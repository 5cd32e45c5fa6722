"""Broadcasting over HTTP: ``/api/broadcast`` and ``/api/broadcast/TOPIC/events/EVENT``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from realtime_toolkit import phoenix
from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.phoenix import Message, UserBroadcast
from realtime_toolkit.stack.front import bodies
from realtime_toolkit.stack.realtime import authorization, tokens
from realtime_toolkit.stack.realtime.access import Reader
from realtime_toolkit.stack.realtime.authorization import Context, Policies
from realtime_toolkit.stack.realtime.limits import external_size

if TYPE_CHECKING:
    from realtime_toolkit.stack.realtime.server import Server

_CACHE = {"cache-control": "max-age=0, private, must-revalidate"}
_BODY_MAX = 8_000_000
"""Of Phoenix, by default."""
_BLANK = "can't be blank"


class _AnswerError(Exception):
    """An answer other than 202."""

    def __init__(self, status: int, body: dict[str, Any] | str) -> None:
        super().__init__(str(body))
        self.response = _json(status, body) if isinstance(body, dict) else _html(status, body)


def routes(server: Server) -> list[BaseRoute]:
    """Paths relative to ``/realtime/v1``; those of the genuine server are relative to its root."""
    api = BroadcastApi(server)
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return [
        Route("/api/broadcast", api.batch, methods=methods),
        Route("/api/broadcast/{topic}/events/{event}", api.single, methods=methods),
        Route("/api/ping", _ping),
        Route("/healthcheck", _health),
        Route("/websocket", _no_upgrade),
    ]


async def _ping(_: Request) -> Response:
    return _json(200, {"message": "Success"})


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok", headers=_CACHE)


async def _no_upgrade(request: Request) -> Response:
    values = request.headers.getlist("connection")
    got = "[" + ", ".join(f'"{value}"' for value in values) + "]" if values else "[]"
    return Response(f"'connection' header must contain 'upgrade', got {got}", 400, _CACHE)


class BroadcastApi:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def batch(self, request: Request) -> Response:
        return await self._answer(request, self._batch)

    async def single(self, request: Request) -> Response:
        return await self._answer(request, self._single)

    async def _answer(self, request: Request, handle: Any) -> Response:
        if request.method != "POST":
            return _html(404, "Not Found")
        try:
            await handle(request, self._authenticate(request))
        except _AnswerError as answer:
            return answer.response
        except bodies.TooLargeError:
            return _html(413, "Request Entity Too Large")
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        return Response(b"", 202, _CACHE)

    def _authenticate(self, request: Request) -> tokens.Claims:
        if self._server.limits.suspend:
            raise _AnswerError(403, {"message": "Tenant is suspended"})
        token = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get(
            "apikey", ""
        )
        try:
            return tokens.verify(self._server.jwt_of(token), self._server.jwt_secret, time.time())
        except tokens.TokenError:
            raise _AnswerError(401, {"message": "Unauthorized"}) from None

    # --- many -------------------------------------------------------------------------------------

    async def _batch(self, request: Request, claims: tokens.Claims) -> None:
        body = await _json_body(request)
        wanted = _checked(body, self._server.limits.max_payload_size_in_kb)
        self._check_rate(len(wanted))
        for item in (item for item in wanted if not item["private"]):
            self._send(item)
        rights: dict[str, bool] = {}
        for item in (item for item in wanted if item["private"]):
            topic = item["topic"]
            if topic not in rights:
                rights[topic] = await self._may_write(claims, topic)
            if rights[topic]:
                self._send(item)

    def _send(self, item: dict[str, Any]) -> None:
        payload = {"payload": item["payload"], "event": item["event"], "type": "broadcast"}
        if item["id"] is not None:
            payload["meta"] = {"id": item["id"]}
        self._publish(
            Message(f"realtime:{item['topic']}", "broadcast", payload), item["topic"], item["private"]
        )

    def _publish(self, message: Message | UserBroadcast, topic: str, private: bool) -> None:
        self._server.events.add(self._server.clock())
        self._server.hub.broadcast((topic, private), message)

    def _check_rate(self, count: int) -> None:
        events = self._server.events
        events.sample(self._server.clock())
        if events.average > events.limit:
            raise _AnswerError(429, {"message": "You have exceeded your rate limit"})
        if events.average + count > events.limit:
            text = "Too many messages to broadcast, please reduce the batch size"
            raise _AnswerError(429, {"message": text})

    async def _may_write(self, claims: tokens.Claims, topic: str) -> bool:
        reader = Reader(str(claims.role), phoenix.dumps(claims.values))
        try:
            async with self._server.auth.use() as connection:
                context = Context(reader, topic)
                policies = await authorization.write(connection, context, Policies(), "broadcast")
        except psycopg.Error:
            return False
        return policies.broadcast_write is True

    # --- one --------------------------------------------------------------------------------------

    async def _single(self, request: Request, claims: tokens.Claims) -> None:
        topic, event = request.path_params["topic"], request.path_params["event"]
        is_json = not request.headers.get("content-type", "").startswith("application/octet-stream")
        if is_json:
            body = await _json_body(request)
            payload = phoenix.dumps(body if isinstance(body, dict) else {"_json": body}).encode()
        else:
            payload = await bodies.read(request, _BODY_MAX)
        private = request.query_params.get("private") == "true"
        self._check_rate(1)
        if private and not await self._may_write(claims, topic):
            raise _AnswerError(403, {"message": "Unauthorized"})
        self._publish(UserBroadcast(f"realtime:{topic}", event, payload, is_json), topic, private)


async def _json_body(request: Request) -> Any:
    kind = request.headers.get("content-type", "")
    if not kind.startswith("application/json"):
        return {}
    data = await bodies.read(request, _BODY_MAX)
    try:
        text = data.decode()
        value = phoenix.loads(text) if text else {}
    except (ProtocolError, UnicodeDecodeError):
        raise _AnswerError(400, "Bad Request") from None
    if not bodies.is_text(text, value):
        raise _AnswerError(400, "Bad Request")
    return value


def _checked(body: Any, max_kb: int) -> list[dict[str, Any]]:
    """The messages, complete; raises the answer that names what is wrong with which."""
    listed = body.get("messages") if isinstance(body, dict) else None
    if listed in (None, []):
        raise _AnswerError(422, {"errors": {"messages": [_BLANK]}})
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise _AnswerError(422, {"errors": {"messages": ["is invalid"]}})
    errors = [_errors(item, max_kb) for item in listed]
    if any(errors):
        raise _AnswerError(422, {"errors": {"messages": errors}})
    return [_message(item) for item in listed]


def _message(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "private": item.get("private") in (True, "true", "1"), "id": item.get("id")}


def _errors(item: dict[str, Any], max_kb: int) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    for name, type_ in (("event", str), ("payload", dict), ("topic", str)):
        value = item.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            errors[name] = [_BLANK]
        elif not isinstance(value, type_):
            errors[name] = ["is invalid"]
        elif name == "payload" and external_size(value) > max_kb * 1000 + 500:
            errors[name] = ["Payload size exceeds tenant limit"]
    return errors


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(
        phoenix.dumps(body), status, {**_CACHE, "content-type": "application/json; charset=utf-8"}
    )


def _html(status: int, body: str) -> Response:
    return Response(body, status, {**_CACHE, "content-type": "text/html; charset=utf-8"})
