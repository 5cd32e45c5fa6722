"""What the access token of a person carries, as Supabase Auth writes it. Pure."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from realtime_toolkit.verify.people import Who
from realtime_toolkit.verify.values import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.people import World

EXPIRES = 2_145_830_400
"""The end of 2037 in seconds since 1970: later than any run, and an integer of four bytes as in real tokens."""


_WHEN = re.compile(r"'(?:iat|amr|exp|auth_time)'")


def asks_when(texts: Iterable[str]) -> bool:
    """Whether a policy looks at when somebody signed in."""
    return any(_WHEN.search(text) for text in texts)


def claims(
    who: Who,
    world: World,
    belonging: Belonging,
    config: Config,
    rights: Sequence[tuple[tuple[str, ...], str]] = (),
) -> dict[str, Any]:
    """All claims of a session, and what policies compare with this person's rows; ``rights`` are an admin's claims.

    It signed in by password, and with a second factor where a policy wants one.
    """
    factor = (("aal",), "aal2") in belonging.privileges  # else nothing would be told of what lies behind it
    made: dict[str, Any] = {
        "iss": "https://probe.invalid/auth/v1",
        "sub": who.user_id,
        "aud": "authenticated",
        "exp": EXPIRES,
        "iat": world.now,
        "email": world.mail(who),
        "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": dict(world.metadata.get(who, {})),
        "role": "authenticated",
        "aal": "aal2" if factor else "aal1",
        "amr": [{"method": m, "timestamp": world.now} for m in ("totp", "password")[not factor :]],
        "session_id": str(uuid.uuid5(NAMESPACE, f"session {who.value}")),
        "is_anonymous": False,
    }
    for claim in belonging.claims:
        row = world.rows.get((claim.table, who))
        if row is not None and row.get(claim.column) is not None:
            _put(made, claim.path, [row[claim.column]] if claim.listed else row[claim.column])
    for path, value in (*rights, *(belonging.privileges if who is Who.CAROL else ())):
        _put(made, path, value)
    _merge(made, _filled(config.claims, who))
    return made


def _put(claims: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for step in path[:-1]:
        claims = claims.setdefault(step, {})
    claims.setdefault(path[-1], value)


def _merge(claims: dict[str, Any], told: Mapping[str, Any]) -> None:
    for name, value in told.items():
        if isinstance(value, dict) and isinstance(claims.get(name), dict):
            _merge(claims[name], value)
        else:
            claims[name] = value


def _filled(told: Any, who: Who) -> Any:
    if isinstance(told, dict):
        return {name: _filled(value, who) for name, value in told.items()}
    if isinstance(told, list):
        return [_filled(value, who) for value in told]
    if isinstance(told, str):
        return told.replace("{user}", who.user_id).replace("{tenant}", f"tenant-{who.tenant}")
    return told
