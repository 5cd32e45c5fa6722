"""Small pure parts of the Realtime server: joins, tokens, presence, rates, frames, values."""

from __future__ import annotations

import json
import struct
import uuid
from typing import Any

import jwt
import pytest

from realtime_toolkit.stack.realtime import join, messages, tokens
from realtime_toolkit.stack.realtime.elixir import inspect
from realtime_toolkit.stack.realtime.framing import frame
from realtime_toolkit.stack.realtime.join import JoinError
from realtime_toolkit.stack.realtime.limits import WINDOW, RateCounter, external_size
from realtime_toolkit.stack.realtime.messages import ReplayError
from realtime_toolkit.stack.realtime.presence import Presence
from realtime_toolkit.stack.realtime.values import ColumnType, converter, text_of

SECRET = "a secret of at least sixty-four bytes, which is what the longest of the digests wants"
NOW = 1_800_000_000

# --- joins ------------------------------------------------------------------------------------------


def test_a_join_with_everything() -> None:
    config = {
        "broadcast": {"ack": True, "self": "True", "replay": {"since": 1}, "replication_ready": True},
        "presence": {"key": "me", "enabled": "true"},
        "postgres_changes": [{"event": "*"}, None],
        "private": True,
    }
    parsed = join.parse({"config": config}, "room")
    assert (parsed.ack, parsed.self_, parsed.private, parsed.replication_ready) == (True,) * 4
    assert (parsed.presence_key, parsed.presence_enabled) == ("me", True)
    assert (parsed.replay, parsed.has_replay) == ({"since": 1}, True)
    assert parsed.changes == ({"event": "*"},)
    assert parsed.new_api


@pytest.mark.parametrize(
    "config", [None, {}, {"broadcast": None, "presence": None, "private": None, "postgres_changes": "x"}]
)
def test_a_join_with_nothing(config: Any) -> None:
    parsed = join.parse({"config": config}, "room")
    assert (parsed.ack, parsed.self_, parsed.private) == (False,) * 3
    assert (parsed.presence_enabled, parsed.has_replay) == (False, False)
    assert parsed.changes == ()
    assert uuid.UUID(parsed.presence_key).version == 1


def test_a_join_without_config_is_of_the_old_kind() -> None:
    parsed = join.parse({}, "public:things")
    assert not parsed.new_api
    assert parsed.changes == ({"schema": "public", "table": "things"},)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("x", 'expected params to be a :map, got: `"x"`'),
        ({"config": "x"}, "no function clause matching in Access.get/3"),
        ({"config": []}, "the Access module supports only keyword lists"),
        ({"config": {"postgres_changes": ["x"]}}, "expected a map, got:"),
    ],
)
def test_joins_that_cannot_be(payload: Any, text: str) -> None:
    with pytest.raises(JoinError, match=r"^UnknownErrorOnChannel: ") as refused:
        join.parse(payload, "room")
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("payload", "token"),
    [
        ({}, None),
        ({"access_token": None}, None),
        ({"access_token": 5}, None),
        ({"access_token": "a"}, "a"),
        ({"user_token": "u", "access_token": "a"}, "u"),
        ({"access_token": "sb_publishable_x"}, None),
        ({"access_token": ""}, ""),
    ],
)
def test_the_token_of_a_join(payload: dict[str, Any], token: str | None) -> None:
    assert join.token_of(payload) == token


# --- tokens -----------------------------------------------------------------------------------------


def token(*, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"role": "anon", "exp": NOW + 10, **claims}, secret, algorithm)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_that_lets_in(algorithm: str) -> None:
    claims = tokens.verify(token(algorithm=algorithm, sub="x"), SECRET, NOW)
    assert (claims.role, claims.expires_at, claims.values["sub"]) == ("anon", NOW + 10, "x")


def test_spaces_and_escapes_in_a_token_do_not_matter() -> None:
    assert tokens.verify(f" {token()}\n".replace(".", "%2E"), SECRET, NOW).role == "anon"


@pytest.mark.parametrize(
    ("shown", "at_join"),
    [
        ("", "MalformedJWT: The token provided is not a valid JWT"),
        ("a.b", "MalformedJWT: The token provided is not a valid JWT"),
        ("a.b.c", "MalformedJWT: The token provided is not a valid JWT"),
        (f"{token()}.x", "MalformedJWT: The token provided is not a valid JWT"),
        (token(secret="x" * 64), "JwtSignatureError: Failed to validate JWT signature"),
        (token()[:-3] + "AAA", "JwtSignatureError: Failed to validate JWT signature"),
        (token(exp=NOW - 7), "InvalidJWTToken: Token has expired 7 seconds ago"),
        (token(exp=NOW), "InvalidJWTToken: Token has expired 0 seconds ago"),
        (
            jwt.encode({"exp": NOW + 9}, SECRET),
            "InvalidJWTToken: Fields `role` and `exp` are required in JWT",
        ),
        (jwt.encode({"role": "x"}, SECRET), "InvalidJWTToken: Fields `role` and `exp` are required in JWT"),
        (
            jwt.encode({"role": "x", "exp": NOW + 9}, "", "none"),
            "JwtSignerError: Failed to generate JWT signer, check your JWT secret or JWKS configuration",
        ),
    ],
)
def test_tokens_that_do_not_let_in(shown: str, at_join: str) -> None:
    with pytest.raises(tokens.TokenError) as refused:
        tokens.verify(shown, SECRET, NOW)
    assert refused.value.join == at_join


def test_a_token_whose_end_is_no_number() -> None:
    api = jwt.api_jws.PyJWS()
    shown = api.encode(json.dumps({"role": "anon", "exp": "soon"}).encode(), SECRET, "HS256", {"typ": "JWT"})
    with pytest.raises(tokens.TokenError) as refused:
        tokens.verify(shown, SECRET, NOW)
    assert refused.value.join == "Unknown Error on Channel"


# --- replay -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "limit"),
    [
        ({"since": 0}, 25),
        ({"since": 0, "limit": 3}, 3),
        ({"since": 0, "limit": 0}, 1),
        ({"since": 0, "limit": 99}, 25),
    ],
)
def test_how_much_is_replayed(params: dict[str, Any], limit: int) -> None:
    replay = messages.parse_replay(params, private=True, maximum=25)
    assert replay is not None
    assert replay.limit == limit


@pytest.mark.parametrize(
    "params", [{}, {"limit": 1}, {"since": "x"}, {"since": 1, "limit": "2"}, {"since": -1}]
)
def test_replays_that_cannot_be(params: Any) -> None:
    with pytest.raises(ReplayError, match="Replay params are not valid"):
        messages.parse_replay(params, private=True, maximum=25)


def test_no_replay_on_public_channels() -> None:
    with pytest.raises(ReplayError, match="not allowed for public channels"):
        messages.parse_replay({"since": 0}, private=False, maximum=25)


# --- presence ---------------------------------------------------------------------------------------


def test_presence() -> None:
    presence = Presence()
    first = presence.track("a", "key", {"n": 1})
    meta = first["joins"]["key"]["metas"][0]
    assert (meta["n"], first["leaves"]) == (1, {})
    second = presence.track("a", "key", {"n": 2})
    assert second["leaves"]["key"]["metas"] == [meta]
    assert second["joins"]["key"]["metas"][0]["phx_ref_prev"] == meta["phx_ref"]
    presence.track("b", "key", {"n": 3})
    assert [meta["n"] for meta in presence.state()["key"]["metas"]] == [2, 3]
    gone = presence.untrack("a")
    assert gone is not None
    assert (gone["joins"], list(gone["leaves"])) == ({}, ["key"])
    assert presence.untrack("a") is None
    assert [meta["n"] for meta in presence.state()["key"]["metas"]] == [3]


# --- rates ------------------------------------------------------------------------------------------


def test_a_burst_passes_and_its_penalty_lasts() -> None:
    counter = RateCounter(limit=10, tick=5.0)
    assert not counter.sample(0.0)
    counter.add(1.0, 3000)
    assert not counter.triggered  # until the next sample
    assert counter.sample(5.0)
    assert counter.sample(54.9)
    assert not counter.sample(5.0 + WINDOW * 5.0)


def test_an_average_over_the_samples_there_are() -> None:
    counter = RateCounter(limit=5, tick=5.0)
    for second in range(5):
        counter.add(second, 8)
    counter.sample(5.0)
    assert counter.average == 40 / 2 / 5
    assert not counter.triggered


def test_an_average_over_the_whole_window() -> None:
    counter = RateCounter(limit=100, tick=5.0, fixed=True)
    counter.add(0.0, 5999)
    assert not counter.sample(5.0)
    counter.add(6.0)
    assert counter.sample(10.0)


def test_sizes_in_erlangs_format() -> None:
    # byte_size(:erlang.term_to_binary(…)) as the server reckons it
    assert external_size({}) == 6
    assert external_size("abc") == 9
    assert external_size([]) == 2
    assert external_size([1, "a"]) == 1 + 6 + 2 + 6
    assert external_size({"a": None}) == 1 + 5 + 6 + 5
    assert external_size(1.5) == 10
    assert [external_size(n) for n in (255, 256, -1, 2**31, 2**63)] == [3, 6, 6, 8, 12]
    assert external_size(True) == 1 + 2 + 4
    with pytest.raises(TypeError):
        external_size(object())


# --- frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (5, b"\x81\x05"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f" + struct.pack("!Q", 65_536)),
    ],
)
def test_frames(length: int, header: bytes) -> None:
    assert frame("x" * length) == header + b"x" * length
    assert frame(b"x" * length)[:1] == b"\x82"


# --- values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("oid", "text", "shown"),
    [
        (23, b"42", b"42"),
        (20, b"9223372036854775807", b"9223372036854775807"),
        (1700, b"1.5000", b"1.5000"),
        (1700, b"NaN", b"null"),
        (701, b"1e+20", b"100000000000000000000"),
        (701, b"-Infinity", b"null"),
        (16, b"t", b"true"),
        (25, b'say "hi"\n', b'"say \\"hi\\"\\n"'),
        (17, b"\\xdeadbeef", b'"deadbeef"'),
        (1042, b"ch   ", b'"c"'),
        (1560, b"1010", b'"1"'),
        (1562, b"1010", b'"1010"'),
        (1114, b"2024-02-29 13:14:15.123456", b'"2024-02-29T13:14:15.123456"'),
        (1184, b"2024-02-29 13:14:15+00", b'"2024-02-29T13:14:15+00:00"'),
        (1114, b"infinity", b'"infinity"'),
        (114, b'{"bb": 1.50, "a": [1, 2], "bb": null}', b'{"a": [1, 2], "bb": null}'),
        (3802, b'{"a": 1}', b'{"a": 1}'),
        (2950, b"00000000-0000-0000-0000-000000000000", b'"00000000-0000-0000-0000-000000000000"'),
    ],
)
def test_values(oid: int, text: bytes, shown: bytes) -> None:
    convert = converter(ColumnType(oid, oid, "b"))
    assert convert is not None
    assert convert(text) == shown


@pytest.mark.parametrize(
    ("element", "text", "shown"),
    [
        (23, b"{1,2,NULL}", b"[1, 2, null]"),
        (23, b"[0:1]={1,2}", b"[1, 2]"),
        (25, b'{a,"b,c","q\\"x",NULL,"NULL"}', b'["a", "b,c", "q\\"x", null, "NULL"]'),
        (23, b"{{1,2},{3,4}}", b"[[1, 2], [3, 4]]"),
        (25, b"{}", b"[]"),
        (16, b"{t,f}", b"[true, false]"),
    ],
)
def test_arrays(element: int, text: bytes, shown: bytes) -> None:
    convert = converter(ColumnType(1007, 1007, "b", ColumnType(element, element, "b")))
    assert convert is not None
    assert convert(text) == shown


def test_what_only_the_database_can_show() -> None:
    assert converter(ColumnType(99_999, 99_999, "c")) is None
    assert converter(ColumnType(99_999, 99_999, "b")) is None


def test_the_text_that_filters_see() -> None:
    assert [text_of(fragment) for fragment in (b"null", b'"a\\"b"', b"1.50", b"true")] == [
        *(None, 'a"b', "1.50", "true")
    ]


def test_how_elixir_prints() -> None:
    assert inspect({"b": None, "a": [True, "x\n#{y}", (1, "t")]}) == (
        '%{"a" => [true, "x\\n\\#{y}", {1, "t"}], "b" => nil}'
    )
