"""Whether a token lets its bearer in, in the genuine server's words. Pure: takes the time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from realtime_toolkit import phoenix
from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.stack.realtime.elixir import inspect

_DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_SPACE = re.compile(r"\s")

NOT_A_JWT = "The token provided is not a valid JWT"
MISSING_CLAIMS = "Fields `role` and `exp` are required in JWT"
_SIGNER = "Failed to generate JWT signer, check your JWT secret or JWKS configuration"


@dataclass(frozen=True, slots=True)
class Claims:
    """A valid token's content."""

    values: dict[str, Any]

    @property
    def role(self) -> Any:
        return self.values["role"]

    @property
    def expires_at(self) -> int:
        """Seconds since 1970."""
        return int(self.values["exp"])


class TokenError(Exception):
    """A token that does not let in. What is said of it depends on where it was shown."""

    def __init__(self, *, join: str, push: str, connect: str) -> None:
        super().__init__(push)
        self.join = join
        """Reason of a refused ``phx_join``."""
        self.push = push
        """System message after ``access_token``."""
        self.connect = connect
        """``error`` of a refused websocket."""


def verify(token: str, secret: str, now: float) -> Claims:
    """The claims of a valid token; raises :class:`TokenError`. ``now`` is in seconds since 1970."""
    token = _SPACE.sub("", unquote(token))
    header, claims = _parts(token)
    digest = _DIGESTS.get(str(header.get("alg"))) if header.get("typ") == "JWT" else None
    if digest is None:
        raise TokenError(join=f"JwtSignerError: {_SIGNER}", push=":error_generating_signer", connect=_SIGNER)
    signed, _, signature = token.rpartition(".")
    expected = hmac.new(secret.encode(), signed.encode(), digest).digest()
    if not hmac.compare_digest(_decode(signature), expected):
        text = "Failed to validate JWT signature"
        raise TokenError(join=f"JwtSignatureError: {text}", push=":signature_error", connect=text)
    return _validate(claims, now)


def _validate(claims: dict[str, Any], now: float) -> Claims:
    expires_at = claims.get("exp")
    if isinstance(expires_at, int) and not isinstance(expires_at, bool) and expires_at <= int(now):
        raise expired(int(now) - expires_at)
    if "role" not in claims or "exp" not in claims:
        raise TokenError(
            join=f"InvalidJWTToken: {MISSING_CLAIMS}", push=MISSING_CLAIMS, connect=MISSING_CLAIMS
        )
    if not isinstance(expires_at, int) or isinstance(expires_at, bool):
        odd = f"{{:ok, {inspect(claims)}}}"
        raise TokenError(join="Unknown Error on Channel", push=odd, connect="Unknown Error on Channel")
    return Claims(claims)


def expired(seconds: int) -> TokenError:
    text = f"Token has expired {seconds} seconds ago"
    return TokenError(join=f"InvalidJWTToken: {text}", push=text, connect="Token has expired")


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    pieces = token.split(".")
    try:
        header, claims = (phoenix.loads(_decode(piece)) for piece in pieces[:2])
    except (ProtocolError, ValueError):
        raise _malformed() from None
    if len(pieces) != 3 or not isinstance(header, dict) or not isinstance(claims, dict):
        raise _malformed()
    return header, claims


def _malformed() -> TokenError:
    return TokenError(join=f"MalformedJWT: {NOT_A_JWT}", push=NOT_A_JWT, connect=NOT_A_JWT)


def _decode(piece: str) -> bytes:
    try:
        return base64.b64decode(piece + "=" * (-len(piece) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _malformed() from None
