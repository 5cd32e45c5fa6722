"""Who is present on one topic. Pure; :mod:`realtime_toolkit.stack.realtime.channels` sends what comes out."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

Meta = dict[str, Any]
Diff = dict[str, dict[str, dict[str, list[Meta]]]]
"""``{"joins": {key: {"metas": […]}}, "leaves": {…}}``"""


@dataclass(slots=True)
class Presence:
    """``owner`` is whoever tracks (a channel): each has one meta under its key."""

    metas: dict[object, tuple[str, Meta]] = field(default_factory=dict)

    def track(self, owner: object, key: str, payload: dict[str, Any]) -> Diff:
        """Join, or replace what the owner tracked before."""
        before = self.metas.get(owner)
        meta: Meta = {"phx_ref": secrets.token_urlsafe(12)}
        if before is not None:
            meta["phx_ref_prev"] = before[1]["phx_ref"]
        meta.update(payload)
        self.metas[owner] = (key, meta)
        return _diff({key: meta}, {} if before is None else {before[0]: before[1]})

    def untrack(self, owner: object) -> Diff | None:
        """``None`` if the owner tracked nothing."""
        before = self.metas.pop(owner, None)
        return None if before is None else _diff({}, {before[0]: before[1]})

    def state(self) -> dict[str, dict[str, list[Meta]]]:
        state: dict[str, dict[str, list[Meta]]] = {}
        for key, meta in self.metas.values():
            state.setdefault(key, {"metas": []})["metas"].append(meta)
        return state


def _diff(joins: dict[str, Meta], leaves: dict[str, Meta]) -> Diff:
    return {
        "joins": {key: {"metas": [meta]} for key, meta in joins.items()},
        "leaves": {key: {"metas": [meta]} for key, meta in leaves.items()},
    }
