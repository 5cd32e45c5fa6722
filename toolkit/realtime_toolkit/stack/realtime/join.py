"""What a ``phx_join`` asks for. Pure: lenient where the genuine server is, and it mostly is."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from realtime_toolkit.stack.realtime.bindings import from_topic
from realtime_toolkit.stack.realtime.elixir import inspect


class JoinError(Exception):
    """The join is refused; the text is the reason in the reply."""


@dataclass(frozen=True, slots=True)
class JoinConfig:
    """``config`` of a join, with the defaults of what is missing or of the wrong type."""

    ack: bool = False
    self_: bool = False
    private: bool = False
    presence_key: str = ""
    presence_enabled: bool = False
    replication_ready: bool = False
    replay: Any = None
    """``config.broadcast.replay`` as it came."""
    has_replay: bool = False
    changes: tuple[dict[str, Any], ...] = ()
    new_api: bool = True
    """False for a join without ``config``: the topic itself is the binding."""


def parse(payload: Any, name: str) -> JoinConfig:
    """Read a join's payload; ``name`` is the topic without ``realtime:``. Raises :class:`JoinError`."""
    if not isinstance(payload, dict):
        raise JoinError(f"UnknownErrorOnChannel: expected params to be a :map, got: `{inspect(payload)}`")
    if "config" not in payload:
        return JoinConfig(changes=(from_topic(name),), new_api=False)
    config = payload["config"]
    broadcast = _get(config, "broadcast")
    replay = _get(broadcast, "replay")
    presence = _map(_get(config, "presence"))
    options = _map(broadcast)
    key = presence.get("key")
    return JoinConfig(
        ack=boolean(options.get("ack")),
        self_=boolean(options.get("self")),
        private=boolean(_get(config, "private")),
        presence_key=key if isinstance(key, str) and key else str(uuid.uuid1()),
        presence_enabled=boolean(presence.get("enabled")),
        replication_ready=boolean(options.get("replication_ready")),
        replay=replay,
        has_replay="replay" in options,
        changes=_changes(_get(config, "postgres_changes")),
    )


def token_of(payload: dict[str, Any]) -> str | None:
    """The token shown at the join; ``None`` means that the connection's own is used."""
    first = payload.get("access_token") or payload.get("user_token")
    if isinstance(first, str) and first.startswith("sb_"):
        return None
    for key in ("user_token", "access_token"):
        if isinstance(payload.get(key), str):
            return str(payload[key])
    return None


def boolean(value: Any) -> bool:
    """True may be a text, in any case."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _get(container: Any, key: str) -> Any:
    """``Access.get/2`` and its complaints."""
    if container is None:
        return None
    if isinstance(container, dict):
        return container.get(key)
    if isinstance(container, list):
        raise JoinError(
            "UnknownErrorOnChannel: the Access module supports only keyword lists (with atom keys), "
            f"got: {inspect(key)}\n\nIf you want to search lists of tuples, use List.keyfind/3"
        )
    raise JoinError("UnknownErrorOnChannel: no function clause matching in Access.get/3")


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _changes(value: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list):
        return ()
    wanted = [item for item in value if item is not None]
    for item in wanted:
        if not isinstance(item, dict):
            raise JoinError(f"UnknownErrorOnChannel: expected a map, got:\n\n    {inspect(item)}\n")
    return tuple(wanted)
