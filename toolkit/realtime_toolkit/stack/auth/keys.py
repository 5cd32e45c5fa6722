"""The keys of a stack: JWT keys as projects have had them, opaque ones as new projects get them."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import jwt

from realtime_toolkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEN_YEARS = 10 * 365 * 24 * 3600
_SECRET_MIN = 32  # PostgREST refuses shorter ones


@dataclass(frozen=True, slots=True)
class Keys:
    """All that a client may be configured with. ``anon`` and ``service_role`` are JWTs of ``jwt_secret``."""

    jwt_secret: str = field(repr=False)
    anon: str = field(repr=False)
    service_role: str = field(repr=False)
    publishable: str = field(repr=False)
    secret: str = field(repr=False)
    password: str = field(repr=False)
    """Of the database roles that log in over TCP."""

    @classmethod
    def make(cls, jwt_secret: str | None = None) -> Self:
        """New keys; raises :class:`ConfigError` for a secret that is too short to sign with."""
        jwt_secret = jwt_secret or secrets.token_urlsafe(36)
        if len(jwt_secret) < _SECRET_MIN:
            raise ConfigError(f"the JWT secret needs at least {_SECRET_MIN} characters")
        return cls(
            jwt_secret=jwt_secret,
            anon=_api_key(jwt_secret, "anon"),
            service_role=_api_key(jwt_secret, "service_role"),
            publishable=_opaque("sb_publishable_"),
            secret=_opaque("sb_secret_"),
            password=secrets.token_urlsafe(18),
        )

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**{name: str(stored[name]) for name in cls.__slots__})

    def dump(self) -> dict[str, str]:
        return asdict(self)

    @property
    def opaque(self) -> dict[str, str]:
        """Opaque key → the JWT it stands for."""
        return {self.publishable: self.anon, self.secret: self.service_role}

    def jwt_for(self, api_key: str) -> str | None:
        """The JWT that an API key stands for; ``None`` for anything that is not a key of this stack."""
        if api_key in (self.anon, self.service_role):
            return api_key
        return self.opaque.get(api_key)


def _api_key(secret: str, role: str) -> str:
    now = int(time.time())
    claims = {"iss": "supabase-local", "role": role, "iat": now, "exp": now + _TEN_YEARS}
    return jwt.encode(claims, secret, algorithm="HS256")


def _opaque(prefix: str) -> str:
    body = prefix + secrets.token_urlsafe(16)
    check = base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest())[:8].decode()
    return f"{body}_{check}"
