"""Where to connect and with which keys. Nobody else reads the environment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jwt

from realtime_toolkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HS256_BYTES = 32
"""What RFC 7518 §3.2 asks of a secret, and PostgREST, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Connection settings, by the names that ``supabase status -o env`` and hosted projects use.

    Every field may be ``None``; :meth:`require` says in one line which one is missing.
    """

    url: str | None = None
    """``SUPABASE_URL``: the project's base address, without a trailing slash."""
    anon_key: str | None = field(default=None, repr=False)
    """``SUPABASE_ANON_KEY``: the JWT of role ``anon``, or a publishable key."""
    service_role_key: str | None = field(default=None, repr=False)
    """``SUPABASE_SERVICE_ROLE_KEY``: bypasses RLS; for workers, never for browsers."""
    jwt_secret: str | None = field(default=None, repr=False)
    """``SUPABASE_JWT_SECRET``: lets ``--user ID`` sign a token for that user (HS256)."""
    access_token: str | None = field(default=None, repr=False)
    """``SUPABASE_ACCESS_TOKEN``: a user's own token, where the JWT secret is not at hand."""
    database_url: str | None = field(default=None, repr=False)
    """``DATABASE_URL``: a session connection to Postgres (not a transaction pooler)."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read settings; raises :class:`ConfigError` for a malformed address."""
        url = env.get("SUPABASE_URL") or None
        if url is not None:
            if not _is_web_address(url):
                raise ConfigError(f"SUPABASE_URL is not an http(s) address: {url!r}")
            url = url.rstrip("/")
        database_url = env.get("DATABASE_URL") or None
        if database_url is not None and not database_url.startswith(("postgres://", "postgresql://")):
            raise ConfigError("DATABASE_URL must begin with postgresql://")
        return cls(
            url=url,
            anon_key=env.get("SUPABASE_ANON_KEY") or None,
            service_role_key=env.get("SUPABASE_SERVICE_ROLE_KEY") or None,
            jwt_secret=env.get("SUPABASE_JWT_SECRET") or None,
            access_token=env.get("SUPABASE_ACCESS_TOKEN") or None,
            database_url=database_url,
        )

    def require(self, name: str) -> str:
        """The value of one field; raises :class:`ConfigError` naming the variable where it is unset."""
        value = getattr(self, name)
        if value is None:
            variable = "DATABASE_URL" if name == "database_url" else f"SUPABASE_{name.upper()}"
            raise ConfigError(
                f"{variable} is not set (a local stack prints all of them: realtime-toolkit stack env)"
            )
        return str(value)

    def token_for(self, user_id: str, *, now: float | None = None, expires_in: int = 3600) -> str:
        """A token of role ``authenticated`` for this user, signed with the JWT secret.

        Raises :class:`ConfigError` where there is no secret, or one too short to be a project's.
        """
        secret = self.require("jwt_secret")
        if len(secret.encode()) < _HS256_BYTES:
            raise ConfigError(f"SUPABASE_JWT_SECRET is shorter than {_HS256_BYTES} bytes: no project has it")
        return mint_token(secret, user_id, now=now, expires_in=expires_in)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is none
        return False


def mint_token(
    secret: str,
    user_id: str | None,
    *,
    role: str = "authenticated",
    now: float | None = None,
    expires_in: int = 3600,
    claims: Mapping[str, Any] | None = None,
) -> str:
    """Sign an HS256 token as Supabase Auth would; ``user_id`` ``None`` leaves ``sub`` out (API keys)."""
    issued = int(time.time() if now is None else now)
    payload: dict[str, Any] = {
        "aud": role,
        "role": role,
        "iss": "supabase",
        "iat": issued,
        "exp": issued + expires_in,
    }
    if user_id is not None:
        payload["sub"] = user_id
    payload.update(claims or {})
    return jwt.encode(payload, secret, algorithm="HS256")
