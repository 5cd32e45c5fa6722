"""Binding ids against the ones the genuine server gave."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from realtime_toolkit.stack.realtime.phash import phash2

RECORDINGS = Path(os.environ.get("REALTIME_RECORDINGS", "/work/shared/realtime-wire"))


@pytest.mark.parametrize(
    ("expected", "binding"),
    [
        (101147312, {"event": "INSERT", "schema": "public", "table": "jpc_v1"}),
        (80049468, {"event": "*", "schema": "public", "select": [], "table": "selc"}),
        (29215715, {"event": "*", "schema": "public", "select": ["id", "title"], "table": "selc"}),
        (6301817, {"event": "*", "schema": "public", "table": None}),
        (65479103, {"event": 5, "schema": "public", "table": "pbc"}),
        (39679005, {}),
    ],
)
def test_recorded_ids(expected: int, binding: dict[str, Any]) -> None:
    assert phash2(binding) == expected


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not on this machine")
def test_every_id_in_the_recordings() -> None:
    seen = 0
    for binding in _recorded_bindings():
        expected = binding.pop("id")
        assert phash2(binding) == expected, binding
        seen += 1
    assert seen > 100


def _recorded_bindings() -> list[dict[str, Any]]:
    found = []
    for path in RECORDINGS.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            frame = json.loads(line).get("frame")
            if isinstance(frame, str) and '"phx_reply"' in frame and '"postgres_changes":[{' in frame:
                message = json.loads(frame)
                payload = message["payload"] if isinstance(message, dict) else message[4]
                if "response" in payload:
                    found += payload["response"]["postgres_changes"]
    return found
