"""The Auth endpoints that clients need: sign up, sign in, refresh, user, log out, and the admin's users.

Answers and errors follow Supabase Auth, so that its clients raise their own errors from them.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import jwt
import psycopg
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from realtime_toolkit.stack.auth.accounts import (
    EMAIL_EXISTS,
    SAME_PASSWORD,
    Accounts,
    AuthError,
    Row,
    check_email,
    check_password,
    hash_password,
    password_matches,
    user_json,
)
from realtime_toolkit.stack.front import bodies

if TYPE_CHECKING:
    from starlette.requests import Request

Handler = Callable[["Request"], Awaitable[Response]]

log = logging.getLogger("realtime_toolkit.stack.auth")

_API_VERSION = "2024-01-01"
_ADMINS = frozenset({"service_role", "supabase_admin"})
_BEARER_NEEDED = (401, "no_authorization", "This endpoint requires a valid Bearer token")
_NOT_ADMIN = (403, "not_admin", "User not allowed")
_BAD_JSON = (400, "bad_json", "Could not parse request body as JSON")
_SESSION_GONE = (403, "session_not_found", "Session from session_id claim in JWT does not exist")
_USER_GONE = (403, "user_not_found", "User from sub claim in JWT does not exist")
_NO_PHONE = (400, "phone_provider_disabled", "Phone signups are disabled")
_DATABASE = (500, "unexpected_failure", "Database error")
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BAN_MAX = 290 * 366 * 24 * 3600
"""Seconds: what Go's durations hold."""
_BODY_MAX = 1 << 20
_CREDENTIALS = {"email": str, "password": str, "phone": str}
_SIGN_UP = {**_CREDENTIALS, "data": dict}
_TOKEN = {**_CREDENTIALS, "refresh_token": str}
_ADMIN = {
    **_CREDENTIALS,
    **dict.fromkeys(("id", "password_hash", "role", "ban_duration"), str),
    **dict.fromkeys(("user_metadata", "app_metadata"), dict),
    "email_confirm": bool,
}


def auth_app(accounts: Accounts) -> Starlette:
    """ASGI app for what comes below ``/auth/v1``."""
    endpoints = _Endpoints(accounts)
    listed: list[tuple[str, str, Handler]] = [
        ("/health", "GET", endpoints.health),
        ("/settings", "GET", endpoints.settings),
        ("/.well-known/jwks.json", "GET", endpoints.jwks),
        ("/signup", "POST", endpoints.sign_up),
        ("/token", "POST", endpoints.token),
        ("/user", "GET", endpoints.get_user),
        ("/user", "PUT", endpoints.put_user),
        ("/logout", "POST", endpoints.log_out),
        ("/admin/users", "GET", endpoints.list_users),
        ("/admin/users", "POST", endpoints.create_user),
        ("/admin/users/{id}", "GET", endpoints.admin_get),
        ("/admin/users/{id}", "PUT", endpoints.admin_put),
        ("/admin/users/{id}", "DELETE", endpoints.admin_delete),
    ]
    return Starlette(
        routes=[Route(path, _answering(handler), methods=[verb]) for path, verb, handler in listed]
    )


def _answering(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        version = request.headers.get("x-supabase-api-version", "")
        try:
            return await handler(request)
        except AuthError as error:
            return _error(error, version)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except psycopg.Error as error:  # also what a trigger on auth.users raises: 500 on a project, too
            log.error("%s %s: %s", request.method, request.url.path, str(error).strip())
            return _error(AuthError(*_DATABASE), version)

    return answer


def _error(error: AuthError, asked_version: str) -> JSONResponse:
    """Since API version 2024-01-01 ``code`` is the text; before, it was the HTTP status."""
    if asked_version >= _API_VERSION:
        body: Row = {"code": error.code, "message": error.message}
    else:
        body = {"code": error.status, "error_code": error.code, "msg": error.message}
    headers = {"x-supabase-api-version": _API_VERSION} if asked_version >= _API_VERSION else {}
    headers["x-sb-error-code"] = error.code
    return JSONResponse({**body, **error.extra}, error.status, headers)


class _Endpoints:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def health(self, request: Request) -> Response:
        description = "GoTrue is a user registration and authentication API"
        return JSONResponse({"version": "local", "name": "GoTrue", "description": description})

    async def settings(self, request: Request) -> Response:
        external = {"email": True, "phone": False, "anonymous_users": True}
        return JSONResponse(
            {
                "external": external,
                "disable_signup": False,
                "mailer_autoconfirm": True,
                "phone_autoconfirm": False,
                "sms_provider": "",
                "saml_enabled": False,
            }
        )

    async def jwks(self, request: Request) -> Response:
        return JSONResponse({"keys": []})  # HS256: there is no public key

    async def sign_up(self, request: Request) -> Response:
        body = await _body(request, _SIGN_UP)
        if body.get("phone"):
            raise AuthError(*_NO_PHONE)
        if not body.get("email") and not body.get("password"):
            return await self._sign_up_anonymously(body)
        if not body.get("password"):
            raise AuthError(400, "validation_failed", "Signup requires a valid password")
        email = check_email(body.get("email", ""))
        check_password(body["password"])
        values = {
            "email": email,
            "encrypted_password": await hash_password(body["password"]),
            "email_confirmed_at": datetime.now(UTC),
            "raw_app_meta_data": {"provider": "email", "providers": ["email"]},
        }
        user_id = str(uuid.uuid4())
        shown = {"sub": user_id, "email": email, "email_verified": True, "phone_verified": False}
        values |= {"id": user_id, "raw_user_meta_data": {**body.get("data", {}), **shown}}
        async with self._accounts.transaction() as db:
            user = await self._accounts.create(db, values)
            return JSONResponse(await self._accounts.begin(db, user))

    async def _sign_up_anonymously(self, body: Row) -> Response:
        values = {"is_anonymous": True, "raw_user_meta_data": body.get("data", {})}
        async with self._accounts.transaction() as db:
            user = await self._accounts.create(db, values)
            return JSONResponse(await self._accounts.begin(db, user, "anonymous"))

    async def token(self, request: Request) -> Response:
        grant, body = request.query_params.get("grant_type", ""), await _body(request, _TOKEN)
        if grant == "password":
            if body.get("phone"):
                raise AuthError(*_NO_PHONE)
            session = await self._accounts.sign_in(body.get("email", ""), body.get("password", ""))
        elif grant == "refresh_token":
            if not body.get("refresh_token"):
                raise AuthError(400, "validation_failed", "refresh_token required")
            session = await self._accounts.refresh(body["refresh_token"])
        else:
            raise AuthError(400, "invalid_credentials", "unsupported_grant_type")
        return JSONResponse(session)

    async def get_user(self, request: Request) -> Response:
        async with self._accounts.transaction() as db:
            user = await self._current(db, self._claims(request))
            return await self._show(db, user)

    async def put_user(self, request: Request) -> Response:
        claims, body = self._claims(request), await _body(request, _SIGN_UP)
        async with self._accounts.transaction() as db:
            user = await self._current(db, claims)
            values: Row = {}
            if body.get("email") and body["email"].lower() != user["email"]:
                values |= {"email": check_email(body["email"]), "email_confirmed_at": datetime.now(UTC)}
            if "password" in body:
                values["encrypted_password"] = await self._new_password(user, body["password"])
            if "data" in body:
                values["raw_user_meta_data"] = body["data"]
            if values.get("email") and user["is_anonymous"]:
                values["is_anonymous"] = False
            return await self._show(db, await self._accounts.change(db, claims["sub"], values))

    async def _new_password(self, user: Row, password: str) -> str:
        check_password(password)
        if await password_matches(password, user["encrypted_password"]):
            raise AuthError(*SAME_PASSWORD)
        return await hash_password(password)

    async def log_out(self, request: Request) -> Response:
        claims = self._claims(request)
        scope = request.query_params.get("scope", "global")
        if scope not in ("global", "local", "others"):
            raise AuthError(400, "validation_failed", f"Unsupported logout scope {scope!r}")
        async with self._accounts.transaction() as db:
            await self._current(db, claims)
            await self._accounts.end_sessions(db, claims, scope)
        return Response(status_code=204)

    # -- admin ------------------------------------------------------------------------------------

    async def list_users(self, request: Request) -> Response:
        self._require_admin(request)
        page = _positive(request.query_params.get("page"), 1)
        per_page = _positive(request.query_params.get("per_page"), 50)
        async with self._accounts.transaction() as db:
            rows, total = await self._accounts.page(db, page, per_page)
            shown = [user_json(row, await self._accounts.identities(db, row["id"])) for row in rows]
        headers = {"x-total-count": str(total), "link": _links(page, per_page, total)}
        return JSONResponse({"users": shown, "aud": "authenticated"}, headers=headers)

    async def create_user(self, request: Request) -> Response:
        self._require_admin(request)
        body = await _body(request, _ADMIN)
        if not body.get("email"):
            if body.get("phone"):
                raise AuthError(*_NO_PHONE)
            raise AuthError(400, "validation_failed", "Cannot create a user without either an email or phone")
        provider = {"provider": "email", "providers": ["email"]}
        values = await _admin_values({**body, "app_metadata": {**body.get("app_metadata", {}), **provider}})
        if body.get("id"):
            values["id"] = _uuid(body["id"], 400, "ID must conform to the uuid v4 format")
        async with self._accounts.transaction() as db:
            return await self._show(db, await self._accounts.create(db, values, taken=EMAIL_EXISTS))

    async def admin_get(self, request: Request) -> Response:
        user_id = self._named_user(request)
        async with self._accounts.transaction() as db:
            return await self._show(db, await self._accounts.user(db, user_id))

    async def admin_put(self, request: Request) -> Response:
        user_id = self._named_user(request)
        values = await _admin_values(await _body(request, _ADMIN))
        async with self._accounts.transaction() as db:
            return await self._show(db, await self._accounts.change(db, user_id, values))

    async def admin_delete(self, request: Request) -> Response:
        user_id = self._named_user(request)
        async with self._accounts.transaction() as db:
            await self._accounts.delete(db, user_id)
        return JSONResponse({})

    def _named_user(self, request: Request) -> str:
        self._require_admin(request)
        return _uuid(request.path_params["id"])

    # -- who asks ---------------------------------------------------------------------------------

    def _claims(self, request: Request) -> Row:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise AuthError(*_BEARER_NEEDED)
        try:
            claims: Row = jwt.decode(
                token.strip(), self._accounts.jwt_secret, algorithms=["HS256"], options={"verify_aud": False}
            )
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            text = f"invalid JWT: unable to parse or verify signature, {error}"
            raise AuthError(403, "bad_jwt", text) from None
        return claims

    def _require_admin(self, request: Request) -> None:
        if str(self._claims(request).get("role")) not in _ADMINS:
            raise AuthError(*_NOT_ADMIN)

    async def _current(self, db: psycopg.AsyncConnection[Row], claims: Row) -> Row:
        if not claims.get("sub"):
            raise AuthError(403, "bad_jwt", "invalid claim: missing sub claim")
        user_id = _uuid(str(claims["sub"]), 403, "invalid claim: sub claim must be a UUID", "bad_jwt")
        if session := claims.get("session_id"):
            text = "invalid claim: session_id claim must be a UUID"
            if not await self._accounts.session_exists(db, _uuid(str(session), 403, text, "bad_jwt")):
                raise AuthError(*_SESSION_GONE)
        return await self._accounts.user(db, user_id, missing=_USER_GONE)

    async def _show(self, db: psycopg.AsyncConnection[Row], user: Row) -> Response:
        return JSONResponse(user_json(user, await self._accounts.identities(db, user["id"])))


async def _admin_values(body: Row) -> Row:
    """The columns that an admin's body sets."""
    values: Row = {}
    if body.get("email"):
        values["email"] = check_email(body["email"])
    if body.get("email_confirm"):
        values["email_confirmed_at"] = datetime.now(UTC)
    if body.get("password_hash"):
        values["encrypted_password"] = _short(body, "password_hash")
    elif body.get("password"):
        check_password(body["password"])
        values["encrypted_password"] = await hash_password(body["password"])
    if "user_metadata" in body:
        values["raw_user_meta_data"] = body["user_metadata"]
    if "app_metadata" in body:
        values["raw_app_meta_data"] = body["app_metadata"]
    if body.get("role"):
        values["role"] = _short(body, "role")
    if body.get("ban_duration"):
        values["banned_until"] = _ban(body["ban_duration"])
    return values


def _short(body: Row, name: str) -> str:
    """For a column of type ``varchar(255)``."""
    text: str = body[name]
    if len(text) > 255:
        raise AuthError(400, "validation_failed", f"{name} is longer than 255 characters")
    return text


def _ban(duration: str) -> datetime | None:
    """``none``, or numbers with the units h, m, s and ms, as Go writes durations: ``1h30m``."""
    if duration == "none":
        return None
    parts = re.findall(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|[smh])", duration)
    seconds = sum(float(amount) * _DURATIONS[unit] for amount, unit in parts)
    if "".join(amount + unit for amount, unit in parts) != duration or seconds > _BAN_MAX:
        raise AuthError(400, "validation_failed", f"invalid format for ban duration: {duration}")
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def _body(request: Request, kinds: Mapping[str, type]) -> Row:
    try:
        return bodies.fields(await bodies.read(request, _BODY_MAX), kinds)
    except bodies.TooLargeError:
        raise AuthError(413, "validation_failed", "Request body is too large") from None
    except bodies.MalformedError:
        raise AuthError(*_BAD_JSON) from None
    except bodies.InvalidError as error:
        raise AuthError(400, "validation_failed", str(error)) from None


def _uuid(
    text: str,
    status: int = 404,
    message: str = "user_id must be an UUID",
    code: str = "validation_failed",
) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise AuthError(status, code, message) from None


def _positive(text: str | None, default: int) -> int:
    if text is None or text == "":
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise AuthError(400, "validation_failed", f"Bad Pagination Parameters: {text}")
    return int(text)


def _links(page: int, per_page: int, total: int) -> str:
    last = max(1, -(-total // per_page))
    links = [f'</admin/users?page={page + 1}&per_page={per_page}>; rel="next"'] if page < last else []
    return ", ".join([*links, f'</admin/users?page={last}&per_page={per_page}>; rel="last"'])
