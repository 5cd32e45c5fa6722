"""Users, sessions and refresh tokens in the schema ``auth``, by the rules of Supabase Auth.

Only e-mail with password and anonymous users; every address counts as confirmed, because nobody reads
mail here. Error codes and texts are those that the Supabase clients know.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import bcrypt
import jwt
import psycopg
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]

PASSWORD_MIN = 6
PASSWORD_MAX = 72  # bcrypt reads no further
REUSE_SECONDS = 10
_BCRYPT_ROUNDS = 6  # a development database: 3 ms a sign-in instead of 50
_NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass
class AuthError(Exception):
    """What the endpoint answers: HTTP status, stable code, text."""

    status: int
    code: str
    message: str
    extra: Mapping[str, Any] = field(default_factory=dict)


Reason = tuple[int, str, str]
INVALID_CREDENTIALS: Reason = (400, "invalid_credentials", "Invalid login credentials")
ALREADY_EXISTS: Reason = (422, "user_already_exists", "User already registered")
EMAIL_EXISTS: Reason = (422, "email_exists", "A user with this email address has already been registered")
NOT_CONFIRMED: Reason = (400, "email_not_confirmed", "Email not confirmed")
BANNED: Reason = (400, "user_banned", "User is banned")
TOKEN_NOT_FOUND: Reason = (400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
TOKEN_USED: Reason = (400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
USER_NOT_FOUND: Reason = (404, "user_not_found", "User not found")
SAME_PASSWORD: Reason = (422, "same_password", "New password should be different from the old password.")


def check_password(password: str) -> None:
    """Raises :class:`AuthError` for a password that Supabase Auth would not take by default."""
    if len(password.encode()) > PASSWORD_MAX:
        text = f"Password cannot be longer than {PASSWORD_MAX} characters"
        raise AuthError(400, "validation_failed", text)
    if len(password) < PASSWORD_MIN:
        text = f"Password should be at least {PASSWORD_MIN} characters."
        raise AuthError(422, "weak_password", text, {"weak_password": {"reasons": ["length"]}})


def check_email(email: str) -> str:
    """The address as it is stored, in lower case."""
    address = email.strip().lower()
    name, at, domain = address.rpartition("@")
    odd = any(character.isspace() or not character.isprintable() for character in address)
    if not (name and at and domain) or odd or len(address) > 255:
        raise AuthError(400, "validation_failed", "Unable to validate email address: invalid format")
    return address


async def hash_password(password: str) -> str:
    salt = bcrypt.gensalt(_BCRYPT_ROUNDS, prefix=b"2a")
    return (await asyncio.to_thread(bcrypt.hashpw, password.encode(), salt)).decode()


async def password_matches(password: str, stored: str | None) -> bool:
    if not stored or len(password.encode()) > PASSWORD_MAX:
        return False
    try:
        return await asyncio.to_thread(bcrypt.checkpw, password.encode(), stored.encode())
    except ValueError:  # a hash that somebody put there by hand
        return False


# Triggers on auth.users run with its rights and its path: where they lack some on a hosted project, they do so here.
_AS_AUTH_ADMIN = (
    "select set_config('role', 'supabase_auth_admin', true), set_config('search_path', 'auth', true) from pg_class"
    " where oid = 'auth.users'::regclass and relowner::regrole::text = 'supabase_auth_admin'"
    " and pg_has_role(current_user, relowner, 'member')"
)


class Accounts:
    """Every call works in a transaction of its own connection, as ``supabase_auth_admin`` where that role has its tables;
    on somebody else's server, as whoever owns them."""

    def __init__(self, database_url: str, *, jwt_secret: str, issuer: str, expires_in: int = 3600) -> None:
        self.jwt_secret = jwt_secret
        self._database_url = database_url
        self._issuer = issuer
        self._expires_in = expires_in

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with await psycopg.AsyncConnection.connect(self._database_url, row_factory=dict_row) as db:
            await db.execute(_AS_AUTH_ADMIN)
            yield db

    # -- users ------------------------------------------------------------------------------------

    async def user(self, db: Connection, user_id: str, *, missing: Reason = USER_NOT_FOUND) -> Row:
        rows = await db.execute("select * from auth.users where id = %s and deleted_at is null", [user_id])
        row = await rows.fetchone()
        if row is None:
            raise AuthError(*missing)
        return row

    async def by_email(self, db: Connection, email: str) -> Row | None:
        rows = await db.execute(
            "select * from auth.users where email = %s and not is_sso_user and deleted_at is null",
            [email.strip().lower()],
        )
        return await rows.fetchone()

    async def create(
        self, db: Connection, values: Mapping[str, Any], *, taken: Reason = ALREADY_EXISTS
    ) -> Row:
        """Insert a user (``values`` are columns); raises ``taken`` where the address or id is."""
        user_id = str(values.get("id") or uuid.uuid4())
        email = values.get("email")
        row = {
            "instance_id": _NOBODY,
            "aud": "authenticated",
            "role": "authenticated",
            "confirmation_token": "",
            "recovery_token": "",
            "email_change_token_new": "",
            "email_change": "",
            **values,
            "id": user_id,
            "raw_app_meta_data": _json(values.get("raw_app_meta_data") or {}),
            "raw_user_meta_data": _json(values.get("raw_user_meta_data") or {}),
        }
        try:
            await db.execute(
                f"insert into auth.users ({', '.join(row)}, created_at, updated_at)"  # our own column names
                f" values ({', '.join(['%s'] * len(row))}, now(), now())",
                list(row.values()),
            )
        except psycopg.errors.UniqueViolation:
            raise AuthError(*taken) from None
        if email:
            await self._add_identity(db, user_id, str(email))
        return await self.user(db, user_id)

    async def _add_identity(self, db: Connection, user_id: str, email: str) -> None:
        data = {"sub": user_id, "email": email, "email_verified": False, "phone_verified": False}
        await db.execute(
            "insert into auth.identities (provider_id, user_id, identity_data, provider, last_sign_in_at,"
            " created_at, updated_at) values (%s, %s, %s, 'email', now(), now(), now())",
            [user_id, user_id, _json(data)],
        )

    async def change(self, db: Connection, user_id: str, values: Mapping[str, Any]) -> Row:
        """Update columns of a user; metadata is merged, and a key given as ``null`` goes."""
        user = await self.user(db, user_id)
        row = dict(values)
        for column in ("raw_user_meta_data", "raw_app_meta_data"):
            if column in row:
                merged = {**(user[column] or {}), **(row[column] or {})}
                row[column] = _json({key: value for key, value in merged.items() if value is not None})
        assignments = "".join(f"{column} = %s, " for column in row)
        try:
            await db.execute(
                f"update auth.users set {assignments} updated_at = now() where id = %s",
                [*row.values(), user_id],
            )
        except psycopg.errors.UniqueViolation:
            raise AuthError(*EMAIL_EXISTS) from None
        if "email" in row:
            await db.execute(
                "update auth.identities set updated_at = now(),"
                " identity_data = identity_data || jsonb_build_object('email', %s::text)"
                " where user_id = %s and provider = 'email'",
                [row["email"], user_id],
            )
        return await self.user(db, user_id)

    async def delete(self, db: Connection, user_id: str) -> None:
        await self.user(db, user_id)
        await db.execute("delete from auth.users where id = %s", [user_id])

    async def page(self, db: Connection, page: int, per_page: int) -> tuple[list[Row], int]:
        """One page of users, the newest first, and how many there are."""
        counted = await db.execute("select count(*)::int as total from auth.users where deleted_at is null")
        total = await counted.fetchone()
        rows = await db.execute(
            "select * from auth.users where deleted_at is null"
            " order by created_at desc, id limit %s offset %s",
            [per_page, (page - 1) * per_page],
        )
        return await rows.fetchall(), total["total"] if total else 0

    async def identities(self, db: Connection, user_id: str) -> list[Row]:
        rows = await db.execute(
            "select * from auth.identities where user_id = %s order by created_at", [user_id]
        )
        return await rows.fetchall()

    # -- sessions ---------------------------------------------------------------------------------

    async def sign_in(self, email: str, password: str) -> Row:
        """A new session for the right password. Raises :class:`AuthError`."""
        async with self.transaction() as db:
            user = await self.by_email(db, email)
            if user is None or not await password_matches(password, user["encrypted_password"]):
                raise AuthError(*INVALID_CREDENTIALS)
            if user["email_confirmed_at"] is None:
                raise AuthError(*NOT_CONFIRMED)
            _refuse_banned(user)
            return await self.begin(db, user)

    async def begin(self, db: Connection, user: Row, method: str = "password") -> Row:
        """Open a session: the body of a token response."""
        session = str(uuid.uuid4())
        await db.execute(
            "insert into auth.sessions (id, user_id, aal, created_at, updated_at)"
            " values (%s, %s, 'aal1', now(), now())",
            [session, user["id"]],
        )
        await db.execute("update auth.users set last_sign_in_at = now() where id = %s", [user["id"]])
        token = await self._add_token(db, user["id"], session, None)
        user = await self.user(db, user["id"])
        return await self._session(db, user, session, token, method)

    async def refresh(self, token: str) -> Row:
        """Exchange a refresh token; one that was used before revokes its whole session's tokens.

        A token used twice within ten seconds, or whose answer may never have arrived (its successor is
        still unused), is honoured again, as Supabase Auth does. Raises :class:`AuthError`.
        """
        async with self.transaction() as db:
            found = await db.execute(
                "select t.*, s.id as live_session, t.updated_at < now() - %s as old"
                " from auth.refresh_tokens t left join auth.sessions s on s.id = t.session_id"
                " where t.token = %s for update of t",
                [timedelta(seconds=REUSE_SECONDS), token],
            )
            known = await found.fetchone()
            if known is None or known["live_session"] is None:
                raise AuthError(*TOKEN_NOT_FOUND)
            user = await self.user(db, known["user_id"], missing=TOKEN_NOT_FOUND)
            _refuse_banned(user)
            successor = await self._successor(db, known)
            if successor is not None:
                return await self._session(db, user, str(known["session_id"]), successor)
        raise AuthError(*TOKEN_USED)  # after the commit: the revocation stays

    async def _successor(self, db: Connection, known: Row) -> str | None:
        """The token that follows; ``None``, with the family revoked, where a used one came back."""
        session = known["session_id"]
        if known["revoked"]:
            live = await db.execute(
                "select token, parent from auth.refresh_tokens where session_id = %s and not revoked"
                " order by id desc limit 1",
                [session],
            )
            active = await live.fetchone()
            if active is not None and active["parent"] == known["token"]:
                return str(active["token"])
            if known["old"]:
                # As if long ago: no token of the family is within its ten seconds of grace any more.
                await db.execute(
                    "update auth.refresh_tokens set revoked = true, updated_at = 'epoch' where session_id = %s",
                    [session],
                )
                return None
        await db.execute(
            "update auth.refresh_tokens set revoked = true, updated_at = now() where id = %s", [known["id"]]
        )
        await db.execute(
            "update auth.sessions set refreshed_at = now() at time zone 'UTC', updated_at = now()"
            " where id = %s",
            [session],
        )
        return await self._add_token(db, known["user_id"], session, known["token"])

    async def _add_token(self, db: Connection, user_id: Any, session: Any, parent: str | None) -> str:
        token = secrets.token_urlsafe(9)
        await db.execute(
            "insert into auth.refresh_tokens (instance_id, token, user_id, session_id, parent, revoked,"
            " created_at, updated_at) values (%s, %s, %s, %s, %s, false, now(), now())",
            [_NOBODY, token, str(user_id), session, parent],
        )
        return token

    async def end_sessions(self, db: Connection, claims: Mapping[str, Any], scope: str) -> None:
        """Log out: ``global`` every session of the user, ``local`` this one, ``others`` all but this one."""
        session = claims.get("session_id") or _NOBODY
        condition = {"local": "and id = %s", "others": "and id <> %s"}.get(scope, "and %s::uuid is not null")
        await db.execute(
            f"delete from auth.sessions where user_id = %s {condition}",
            [claims["sub"], session],
        )

    async def session_exists(self, db: Connection, session: str) -> bool:
        rows = await db.execute("select 1 as one from auth.sessions where id::text = %s", [session])
        return await rows.fetchone() is not None

    async def _session(
        self, db: Connection, user: Row, session: str, refresh_token: str, method: str = "password"
    ) -> Row:
        issued = int(time.time())
        return {
            "access_token": self._access_token(user, session, issued, method),
            "token_type": "bearer",
            "expires_in": self._expires_in,
            "expires_at": issued + self._expires_in,
            "refresh_token": refresh_token,
            "user": user_json(user, await self.identities(db, user["id"])),
        }

    def _access_token(self, user: Row, session: str, issued: int, method: str) -> str:
        claims = {
            "iss": self._issuer,
            "sub": str(user["id"]),
            "aud": user["aud"],
            "exp": issued + self._expires_in,
            "iat": issued,
            "email": user["email"] or "",
            "phone": user["phone"] or "",
            "app_metadata": user["raw_app_meta_data"] or {},
            "user_metadata": user["raw_user_meta_data"] or {},
            "role": user["role"],
            "aal": "aal1",
            "amr": [{"method": method, "timestamp": issued}],
            "session_id": session,
            "is_anonymous": user["is_anonymous"],
        }
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")


def _refuse_banned(user: Row) -> None:
    if user["banned_until"] is not None and user["banned_until"] > datetime.now(UTC):
        raise AuthError(*BANNED)


def _json(value: Any) -> str:
    return json.dumps(value)


def user_json(user: Row, identities: list[Row]) -> Row:
    """A user as the API shows it: never the password's hash."""
    shown: Row = {
        "id": str(user["id"]),
        "aud": user["aud"],
        "role": user["role"],
        "email": user["email"] or "",
        "phone": user["phone"] or "",
        "app_metadata": user["raw_app_meta_data"] or {},
        "user_metadata": user["raw_user_meta_data"] or {},
        "identities": [_identity_json(identity) for identity in identities],
        "is_anonymous": user["is_anonymous"],
    }
    for name in ("created_at", "updated_at", *_OPTIONAL_TIMES):
        if user[name] is not None or name not in _OPTIONAL_TIMES:
            shown[name] = _time(user[name])
    return shown


_OPTIONAL_TIMES = (
    "email_confirmed_at",
    "phone_confirmed_at",
    "confirmed_at",
    "last_sign_in_at",
    "invited_at",
    "banned_until",
)


def _identity_json(identity: Row) -> Row:
    return {
        "identity_id": str(identity["id"]),
        "id": identity["provider_id"],
        "user_id": str(identity["user_id"]),
        "identity_data": identity["identity_data"],
        "provider": identity["provider"],
        "last_sign_in_at": _time(identity["last_sign_in_at"]),
        "created_at": _time(identity["created_at"]),
        "updated_at": _time(identity["updated_at"]),
        "email": identity["email"] or "",
    }


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat().replace("+00:00", "Z")
