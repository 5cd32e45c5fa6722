"""The Auth endpoints that clients need: sign up, sign in, refresh, user, log out, and the admin's users.

Answers and errors follow Supabase Auth, so that its clients raise their own errors from them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import jwt
import psycopg
from starlette.applications import Starlette
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

if TYPE_CHECKING:
    from starlette.requests import Request

Handler = Callable[["Request"], Awaitable[Response]]

_API_VERSION = "2024-01-01"
_ADMINS = frozenset({"service_role", "supabase_admin"})
_BEARER_NEEDED = (401, "no_authorization", "This endpoint requires a valid Bearer token")
_NOT_ADMIN = (403, "not_admin", "User not allowed")
_BAD_JSON = (400, "bad_json", "Could not parse request body as JSON")
_SESSION_GONE = (403, "session_not_found", "Session from session_id claim in JWT does not exist")
_USER_GONE = (403, "user_not_found", "User from sub claim in JWT does not exist")
_NO_PHONE = (400, "phone_provider_disabled", "Phone signups are disabled")
_DURATIONS = {"s": "seconds", "m": "minutes", "h": "hours"}


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
        except psycopg.OperationalError as error:
            return _error(AuthError(500, "unexpected_failure", f"Database error: {error}".strip()), version)

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
        body = await _body(request)
        if body.get("phone"):
            raise AuthError(*_NO_PHONE)
        if not body.get("email") and not body.get("password"):
            return await self._sign_up_anonymously(body)
        if not body.get("password"):
            raise AuthError(400, "validation_failed", "Signup requires a valid password")
        email = check_email(str(body.get("email") or ""))
        check_password(str(body["password"]))
        values = {
            "email": email,
            "encrypted_password": await hash_password(str(body["password"])),
            "email_confirmed_at": datetime.now(UTC),
            "raw_app_meta_data": {"provider": "email", "providers": ["email"]},
        }
        user_id = str(uuid.uuid4())
        shown = {"sub": user_id, "email": email, "email_verified": True, "phone_verified": False}
        values |= {"id": user_id, "raw_user_meta_data": {**(body.get("data") or {}), **shown}}
        async with self._accounts.transaction() as db:
            user = await self._accounts.create(db, values)
            return JSONResponse(await self._accounts.begin(db, user))

    async def _sign_up_anonymously(self, body: Row) -> Response:
        values = {"is_anonymous": True, "raw_user_meta_data": body.get("data") or {}}
        async with self._accounts.transaction() as db:
            user = await self._accounts.create(db, values)
            return JSONResponse(await self._accounts.begin(db, user, "anonymous"))

    async def token(self, request: Request) -> Response:
        grant, body = request.query_params.get("grant_type", ""), await _body(request)
        if grant == "password":
            if body.get("phone"):
                raise AuthError(*_NO_PHONE)
            session = await self._accounts.sign_in(
                str(body.get("email") or ""), str(body.get("password") or "")
            )
        elif grant == "refresh_token":
            if not body.get("refresh_token"):
                raise AuthError(400, "validation_failed", "refresh_token required")
            session = await self._accounts.refresh(str(body["refresh_token"]))
        else:
            raise AuthError(400, "invalid_credentials", "unsupported_grant_type")
        return JSONResponse(session)

    async def get_user(self, request: Request) -> Response:
        async with self._accounts.transaction() as db:
            user = await self._current(db, self._claims(request))
            return await self._show(db, user)

    async def put_user(self, request: Request) -> Response:
        claims, body = self._claims(request), await _body(request)
        async with self._accounts.transaction() as db:
            user = await self._current(db, claims)
            values: Row = {}
            if body.get("email") and str(body["email"]).lower() != user["email"]:
                values |= {"email": check_email(str(body["email"])), "email_confirmed_at": datetime.now(UTC)}
            if body.get("password") is not None:
                values["encrypted_password"] = await self._new_password(user, str(body["password"]))
            if body.get("data") is not None:
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
        body = await _body(request)
        if not body.get("email"):
            if body.get("phone"):
                raise AuthError(*_NO_PHONE)
            raise AuthError(400, "validation_failed", "Cannot create a user without either an email or phone")
        provider = {"provider": "email", "providers": ["email"]}
        values = await _admin_values(
            {**body, "app_metadata": {**(body.get("app_metadata") or {}), **provider}}
        )
        if body.get("id"):
            values["id"] = _uuid(str(body["id"]))
        async with self._accounts.transaction() as db:
            return await self._show(db, await self._accounts.create(db, values, taken=EMAIL_EXISTS))

    async def admin_get(self, request: Request) -> Response:
        user_id = self._named_user(request)
        async with self._accounts.transaction() as db:
            return await self._show(db, await self._accounts.user(db, user_id))

    async def admin_put(self, request: Request) -> Response:
        user_id = self._named_user(request)
        values = await _admin_values(await _body(request))
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
        except jwt.PyJWTError as error:
            text = f"invalid JWT: unable to parse or verify signature, {error}"
            raise AuthError(403, "bad_jwt", text) from None
        return claims

    def _require_admin(self, request: Request) -> None:
        if self._claims(request).get("role") not in _ADMINS:
            raise AuthError(*_NOT_ADMIN)

    async def _current(self, db: psycopg.AsyncConnection[Row], claims: Row) -> Row:
        if not claims.get("sub"):
            raise AuthError(403, "bad_jwt", "invalid claim: missing sub claim")
        session = claims.get("session_id")
        if session and not await self._accounts.session_exists(db, str(session)):
            raise AuthError(*_SESSION_GONE)
        return await self._accounts.user(db, _uuid(str(claims["sub"])), missing=_USER_GONE)

    async def _show(self, db: psycopg.AsyncConnection[Row], user: Row) -> Response:
        return JSONResponse(user_json(user, await self._accounts.identities(db, user["id"])))


async def _admin_values(body: Row) -> Row:
    """The columns that an admin's body sets."""
    values: Row = {}
    if body.get("email"):
        values["email"] = check_email(str(body["email"]))
    if body.get("email_confirm"):
        values["email_confirmed_at"] = datetime.now(UTC)
    if body.get("password_hash"):
        values["encrypted_password"] = str(body["password_hash"])
    elif body.get("password"):
        check_password(str(body["password"]))
        values["encrypted_password"] = await hash_password(str(body["password"]))
    if body.get("user_metadata") is not None:
        values["raw_user_meta_data"] = body["user_metadata"]
    if body.get("app_metadata") is not None:
        values["raw_app_meta_data"] = body["app_metadata"]
    if body.get("role"):
        values["role"] = str(body["role"])
    if body.get("ban_duration"):
        values["banned_until"] = _ban(str(body["ban_duration"]))
    return values


def _ban(duration: str) -> datetime | None:
    """``none``, or a number with the unit s, m or h."""
    if duration == "none":
        return None
    amount, unit = duration[:-1], duration[-1:]
    if unit not in _DURATIONS or not amount.replace(".", "", 1).isdigit():
        raise AuthError(400, "validation_failed", f"invalid format for ban duration: {duration}")
    return datetime.now(UTC) + timedelta(**{_DURATIONS[unit]: float(amount)})


async def _body(request: Request) -> Row:
    raw = await request.body()
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        raise AuthError(*_BAD_JSON) from None
    if not isinstance(body, dict):
        raise AuthError(*_BAD_JSON)
    return body


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise AuthError(404, "validation_failed", "user_id must be an UUID") from None


def _positive(text: str | None, default: int) -> int:
    if text is None or text == "":
        return default
    if not text.isdigit() or int(text) < 1:
        raise AuthError(400, "validation_failed", f"Bad Pagination Parameters: {text}")
    return int(text)


def _links(page: int, per_page: int, total: int) -> str:
    last = max(1, -(-total // per_page))
    links = [f'</admin/users?page={page + 1}&per_page={per_page}>; rel="next"'] if page < last else []
    return ", ".join([*links, f'</admin/users?page={last}&per_page={per_page}>; rel="last"'])
