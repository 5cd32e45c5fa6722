"""Recorded conversations with the genuine server: reading them, and what of a frame may differ.

The format is described in the README beside the recordings.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from realtime_toolkit import phoenix
from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.phoenix import Message, Vsn

FOLDER = Path(os.environ.get("REALTIME_RECORDINGS", "/work/shared/realtime-wire"))

_TOKEN = re.compile(r"<jwt ([^>]*)>")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_AGO = re.compile(r"expired \d+ seconds ago")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
CUT = "…(cut)…"


@dataclass(frozen=True)
class Recording:
    name: str
    note: dict[str, Any]
    steps: tuple[dict[str, Any], ...]

    @classmethod
    def load(cls, name: str) -> Recording:
        lines = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
        steps = sorted(
            lines[1:], key=lambda step: step.get("started_ms", step["t_ms"])
        )  # HTTP is told when over
        return cls(name, lines[0], tuple(_settings_first(steps)))

    def replace(self, old: str, new: str) -> Recording:
        """The same with another text wherever one stands."""
        note, steps = json.loads(json.dumps([self.note, self.steps]).replace(old, new))
        return Recording(self.name, note, tuple(steps))

    def after(self, t_ms: float) -> Recording:
        """What was recorded later than that."""
        return Recording(self.name, self.note, tuple(step for step in self.steps if step["t_ms"] > t_ms))

    @property
    def thinned(self) -> bool:
        """Whether not all of its frames were kept."""
        return any("not kept" in step.get("text", "") for step in self.steps)

    @property
    def said(self) -> str:
        """All that the client sent: what stands in it does not vary."""
        asked = [json.dumps(step) for step in self.steps if step["dir"] in ("send", "sql", "http")]
        return "\n".join([self.note["schema_sql"], *asked])


def _settings_first(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A change of the tenant's settings is told after what it led to: put it before."""
    ordered: list[dict[str, Any]] = []
    for step in steps:
        position = len(ordered)
        if step.get("text", "").startswith("tenant settings"):
            while position and _caused_by_settings(ordered[position - 1]):
                position -= 1
        ordered.insert(position, step)
    return ordered


def _caused_by_settings(step: dict[str, Any]) -> bool:
    return step.get("code") == 1012 or "Server requested disconnect" in str(step.get("frame", ""))


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def with_tokens(text: str, secret: str) -> str:
    """The text with its redacted tokens made out, as of now."""
    return _TOKEN.sub(lambda match: _token(match.group(1), secret), text)


def _token(description: str, secret: str) -> str:
    fields = dict(part.split("=", 1) for part in description.split(" "))
    claims: dict[str, Any] = {"iss": "supabase"}
    if fields.get("role", "None") != "None":
        claims["role"] = fields["role"]
    if "sub" in fields:
        claims["sub"] = fields["sub"]
    if "exp" in fields:
        claims["exp"] = fields["exp"].strip("'")
    elif fields.get("exp_in", "None") != "None":
        claims["exp"] = int(time.time()) + int(fields["exp_in"])
    if fields.get("alg") == "none":
        return jwt.encode(claims, "", algorithm="none")
    key = f"{secret}-wrong" if fields.get("secret") == "wrong" else secret
    return jwt.api_jws.PyJWS().encode(json.dumps(claims).encode(), key, "HS256", {"typ": "JWT"})


def uncut(frame: str, length: int) -> str:
    """A long frame with its middle put back: it was of one letter."""
    head, _, tail = frame.partition(CUT)
    missing = length - len((head + tail).encode())
    return head + head[-1] * missing + tail


def comparable(frame: Any, vsn: Vsn, said: str) -> tuple[str, Any]:
    """The topic of a frame, and the frame as it must be equal: without what varies from run to run."""
    if isinstance(frame, dict):
        frame = base64.b64decode(frame["b64"])
    try:
        message = phoenix.decode(frame, vsn, parse_float=str)
    except ProtocolError:
        return "", frame
    kind = "text" if isinstance(frame, str) else frame[0]
    fields = [kind, message.join_ref, message.ref, message.event, _payload(message, said)]
    return str(message.topic), json.dumps(fields, sort_keys=True, default=repr)


def _payload(message: Message, said: str) -> Any:
    payload = message.payload
    if isinstance(payload, dict) and isinstance(payload.get("ids"), list):
        payload = {**payload, "ids": sorted(payload["ids"])}
    if message.event in ("presence_state", "presence_diff"):
        payload = _presence(payload)
    return _neutral(payload, said)


def _presence(payload: Any) -> Any:
    if isinstance(payload, dict):
        return {
            key: "<ref>" if key.startswith("phx_ref") else _presence(value) for key, value in payload.items()
        }
    return [_presence(item) for item in payload] if isinstance(payload, list) else payload


def _neutral(value: Any, said: str) -> Any:
    match value:
        case str():
            if _UUID.fullmatch(value) and value not in said:
                return "<id>"
            if _STAMP.fullmatch(value) and value not in said:
                return "<time>"
            return _AGO.sub("expired N seconds ago", value)
        case dict():
            return {_neutral(key, said): _neutral(item, said) for key, item in value.items()}
        case list():
            return [_neutral(item, said) for item in value]
    return value
