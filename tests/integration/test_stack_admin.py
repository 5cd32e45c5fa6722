"""Faults injected from another process: the endpoint and its guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.stack import LocalStack

pytestmark = pytest.mark.needs_stack("about the stack's own interface for faults")


@pytest.fixture
def admin(stack: LocalStack) -> Iterator[httpx.Client]:
    key = {"apikey": stack.service_role_key}
    with httpx.Client(base_url=f"{stack.url}/toolkit/v1", headers=key) as client:
        yield client


def test_a_fault_waits_until_it_is_cleared(admin: httpx.Client, stack: LocalStack) -> None:
    # This one waits for something that no other test does meanwhile.
    asked = {"fault": "replay-capped:3", "count": None, "rate": 0.5}
    assert admin.post("/faults", json=asked).json() == {"name": "replay-capped", "argument": 3.0}
    waiting = stack.faults.waiting("replay-capped")
    assert waiting is not None
    assert waiting.number == 3.0
    assert admin.delete("/faults", params={"name": "replay-capped"}).status_code == 204
    assert stack.faults.waiting("replay-capped") is None


def test_what_has_struck_is_told(admin: httpx.Client) -> None:
    admin.post("/faults", json={"fault": "malformed-frame"})
    told = admin.get("/faults").json()
    assert {"name": "malformed-frame", "argument": None} in told["struck"]
    assert "batch-lost" in [kind["name"] for kind in told["kinds"]]


def test_only_the_service_role_may(stack: LocalStack) -> None:
    url = f"{stack.url}/toolkit/v1/faults"
    assert httpx.post(url, json={"fault": "L1"}).status_code == 401
    assert httpx.post(url, json={"fault": "L1"}, headers={"apikey": stack.anon_key}).status_code == 403
    assert httpx.get(url, headers={"apikey": stack.secret_key}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"fault": "nonsense"}', b'{"fault": "L5:much"}', b'{"fault": "L1", "rate": "x"}'],
)
def test_what_is_no_fault_is_refused(admin: httpx.Client, body: bytes) -> None:
    answer = admin.post("/faults", content=body)
    assert answer.status_code == 422
    assert answer.json()["message"]
