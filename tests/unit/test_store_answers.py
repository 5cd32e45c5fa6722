"""What an answer, an argument or a SQLSTATE means: whose mistake it is, and whether it passes."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

import pytest

from realtime_toolkit.errors import (
    ConfigError,
    ContentMismatch,
    InputError,
    NotFound,
    SchemaError,
    StaleAttempt,
    StoreError,
    StoreUnavailable,
    ToolkitError,
    Unauthorized,
)
from realtime_toolkit.store import PostgresStore, RestStore
from realtime_toolkit.store.answers import Plain, answer_error
from realtime_toolkit.store.arguments import check
from realtime_toolkit.store.failures import error_for

PAGE = b"<!DOCTYPE html><html><body><h1>Bad gateway</h1> ray 8f</body></html>"


def told(code: Any, message: str = "x") -> bytes:
    return json.dumps({"code": code, "message": message, "details": None, "hint": None}).encode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, told("", "")),  # a backend that died, PostgREST 12
        (503, told("PGRST000")),
        (503, told("PGRST001")),
        (503, told("PGRST002")),
        (504, told("PGRST003")),
        (500, PAGE),
        (501, b""),
        (502, PAGE),
        (505, b""),
        (520, PAGE),
        (530, PAGE),
        (540, b"{}"),
        (546, b"[]"),
        (599, b"\xff\xfe"),
        (408, b""),
        (425, b""),
        (429, b'{"message": "slow down"}'),
        (403, PAGE),  # a firewall's, not PostgREST's
        (302, PAGE),
        (500, told("XX000", "(EDBHANDLEREXITED) connection to database closed")),
        (500, told("57P01")),
        (500, told("40001")),
        (500, told("58030")),
        (503, told("53300")),
        (405, told("25006")),
        (500, told("F0000")),
        (429, told("PT429", "enough")),
        (500, b"[" * 100_000),
    ],
)
def test_what_passes_is_repeated(status: int, body: bytes) -> None:
    error = answer_error("claim_task at here", Plain(status, "Reason", body))
    assert isinstance(error, StoreUnavailable)
    assert error.retryable
    assert "<" not in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, told("PGRST301", "JWSError JWSInvalidSignature"), Unauthorized),
        (401, b'{"message": "Invalid API key"}', Unauthorized),
        (401, b"", Unauthorized),
        (401, PAGE, Unauthorized),
        (403, told("42501", "permission denied for table tasks"), Unauthorized),
        (400, told("RT001"), StaleAttempt),
        (400, told("RT003"), ContentMismatch),
        (409, told("23503"), NotFound),
        (404, told("PGRST202"), SchemaError),
        (404, told("42P01"), SchemaError),
        (500, told("42P17", "infinite recursion detected in policy"), SchemaError),
        (400, told("23514"), InputError),
        (308, b"", ConfigError),
        (404, PAGE, StoreError),
        (400, told(17), StoreError),
        (406, b"null", StoreError),
    ],
)
def test_what_stays(status: int, body: bytes, kind: type[ToolkitError]) -> None:
    error = answer_error("x", Plain(status, "Reason", body, location="https://me:s3cret@other.test/x?key=1"))
    assert type(error) is kind
    assert not error.retryable
    assert "s3cret" not in str(error)


@pytest.mark.parametrize("message", ["JWT issued at future", "JWTIssuedAtFuture", "JWT not yet valid"])
@pytest.mark.parametrize("renewable", [True, False])
def test_clocks_that_differ_for_a_moment(message: str, renewable: bool) -> None:
    """With an opaque key, too: the gateway signs a token of its own."""
    error = answer_error("x", Plain(401, "", told("PGRST303", message)), renewable=renewable)
    assert isinstance(error, Unauthorized)
    assert error.retryable


def test_a_refused_token_is_asked_for_again_and_a_key_is_not() -> None:
    expired = Plain(401, "", told("PGRST303", "JWT expired"))
    assert answer_error("x", expired, renewable=True).retryable
    assert not answer_error("x", expired, renewable=False).retryable
    anon = Plain(401, "", told("42501", "permission denied for function claim_task"))
    assert answer_error("x", anon, renewable=True).retryable
    assert not answer_error("x", anon, renewable=False).retryable
    assert not answer_error("x", Plain(403, "", anon.body), renewable=True).retryable
    key = Plain(401, "", b'{"message": "Invalid API key", "hint": "Double check your API key."}')
    assert not answer_error("x", key, renewable=True).retryable


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("86400", 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("-5", None),
        ("soon", None),
        (None, None),
    ],
)
def test_how_long_to_wait_is_heeded_within_reason(header: str | None, seconds: float | None) -> None:
    assert answer_error("x", Plain(429, "", b"", retry_after=header)).retry_after == seconds


def test_class_22_is_the_callers_where_the_database_quotes_them() -> None:
    detail = 'invalid input syntax for type uuid: "nope"'
    assert type(error_for("22P02", "x", detail, ["conversation", "nope"])) is InputError
    policy = error_for("22P02", "x", 'invalid input syntax for type integer: "pro"', ["conversation", "nope"])
    assert type(policy) is SchemaError
    assert type(error_for("22012", "x", "division by zero", ["1"])) is SchemaError


def test_a_pooler_is_named() -> None:
    line = str(error_for("42P05", "x", 'prepared statement "_pg3_0" already exists'))
    assert "transaction pooler" in line
    assert "prepare_threshold=None" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "1 or 1=1"), ("id", 7), ("message_id", ""), ("body", b"bytes"), ("body", "a\0b"),
        ("body", "a\ud83d"), ("prompt", {"a": 1}), ("seq", 2**31), pytest.param("seq", 10**5000, id="huge"), ("attempt", 1.5),
        ("attempt", math.nan), ("progress", math.nan), ("progress", -0.1), ("progress", math.inf),
        ("lease_seconds", 0), ("worker", ""), ("worker", "x" * 201), ("roles", ["ok", "a\0b"]),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_said_before_it_is_sent(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name) as caught:
        check("call", {name: value})
    assert len(str(caught.value)) < 200


def test_what_can_be_stored() -> None:
    check("call", {"task": str(uuid.uuid4()).upper(), "id": uuid.uuid4(), "body": "é😀\x01", "seq": 0, "error": None,
                   "progress": 1, "roles": ["a"], "keys_only": True, "worker": "w"})  # fmt: skip


@pytest.mark.parametrize(
    "address", ["https://h:99999", "https://[::1", "https://h:x", "", "//h", None, b"https://h"]
)
def test_an_address_that_is_none(address: Any) -> None:
    with pytest.raises(ConfigError):
        RestStore(address, "key")


@pytest.mark.parametrize("key", ["", "a\nb", "schlüssel", None, b"key"])
def test_a_key_that_no_header_takes_is_not_quoted(key: Any) -> None:
    with pytest.raises(ConfigError, match="apikey") as caught:
        RestStore("https://h", key)
    assert "schl" not in str(caught.value)


def test_a_token_may_be_text_a_callable_or_nothing() -> None:
    for token in ("e.y.j", lambda: "e.y.j", None):
        RestStore("https://h", "key", token)
    wrong: Any = 7
    with pytest.raises(ConfigError, match="token"):
        RestStore("https://h", "key", wrong)


async def test_stores_say_who_they_are_and_no_secret() -> None:
    store = RestStore("https://me:s3cret@h.test", "s3cret-key", "s3cret.to.ken")
    assert repr(store) == "<RestStore https://h.test>"
    await store.__aexit__(None, None, None)
    assert repr(store) == "<RestStore https://h.test, closed>"
    postgres = PostgresStore("postgresql://u:s3cret@h:1/db", as_user={"sub": "s3cret"})
    assert repr(postgres) == "<PostgresStore h:1 as authenticated>"
