"""The codec against recorded frames and against itself."""

from __future__ import annotations

import base64
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit import phoenix
from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.phoenix import Message, UserBroadcast, Vsn

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
REFS = st.none() | TEXTS.filter(bool)


@given(st.sampled_from(Vsn), TEXTS, TEXTS, JSON, REFS, REFS)
def test_a_client_frame_reads_back(
    vsn: Vsn, topic: str, event: str, payload: object, ref: str, join: str
) -> None:
    message = Message(topic, event, payload, ref, join)
    assert phoenix.decode_push(phoenix.encode(message, vsn), vsn) == message


@given(st.sampled_from(Vsn), TEXTS, TEXTS, JSON, REFS, REFS)
def test_a_frame_can_be_opened_and_its_payload_read_later(
    vsn: Vsn, topic: str, event: str, payload: object, ref: str, join: str
) -> None:
    message = Message(topic, event, payload, ref, join)
    opened = phoenix.open_frame(phoenix.encode(message, vsn), vsn)
    assert (opened.topic, opened.event, opened.ref, opened.join_ref) == (topic, event, ref, join)
    assert phoenix.opened(opened) == message


@pytest.mark.parametrize("vsn", Vsn)
@pytest.mark.parametrize("odd", ["[" * 5000 + "]" * 5000, '"\\ud800"', "9" * 5000])
def test_whose_a_payload_is_can_be_known_whatever_is_in_it(vsn: Vsn, odd: str) -> None:
    frame = phoenix.encode(Message("realtime:t", "e", {"a": "here"}, "1", "2"), vsn).replace('"here"', odd)
    opened = phoenix.open_frame(frame, vsn)
    assert (opened.topic, opened.event, opened.ref, opened.join_ref) == ("realtime:t", "e", "1", "2")
    assert bytes(opened.payload) == f'{{"a":{odd}}}'.encode()


@given(TEXTS, TEXTS, st.binary(), st.booleans(), REFS, REFS)
def test_a_binary_push_reads_back(
    topic: str, event: str, payload: bytes, is_json: bool, ref: str | None, join_ref: str | None
) -> None:
    broadcast = UserBroadcast(topic, event, payload, is_json, b"", ref, join_ref)
    assert phoenix.decode_push(phoenix.encode_user_broadcast_push(broadcast), Vsn.V2) == broadcast


@given(st.binary() | st.text(), st.sampled_from(Vsn))
def test_garbage_is_a_protocol_error_or_a_message(frame: bytes | str, vsn: Vsn) -> None:
    for read in (phoenix.decode, phoenix.decode_push, phoenix.open_frame):
        try:
            read(frame, vsn)
        except ProtocolError:
            continue


def test_recorded_binary_broadcast() -> None:
    push = phoenix.decode_push(
        base64.b64decode("AwECDAILATExM3JlYWx0aW1lOmJpbmV2eyJpZCI6Im0yIn17ImEiOjJ9"), Vsn.V2
    )
    assert push == UserBroadcast("realtime:bin", "ev", b'{"a":2}', True, b'{"id":"m2"}', "13", "1")
    out = UserBroadcast(push.topic, push.event, push.payload, push.is_json)
    assert phoenix.encode_user_broadcast(out, Vsn.V2) == base64.b64decode(
        "BAwCAAFyZWFsdGltZTpiaW5ldnsiYSI6Mn0="
    )
    assert phoenix.encode_user_broadcast(out, Vsn.V1) == (
        '{"ref":null,"event":"broadcast","payload":{"event":"ev","payload":{"a":2},"type":"broadcast"},'
        '"topic":"realtime:bin"}'
    )


def test_recorded_database_broadcast_reads_as_a_text_frame_would() -> None:
    frame = base64.b64decode(
        "BA8CLQFyZWFsdGltZTpkYjpwdWJldnsiaWQiOiI5ZTRlOGQ4Ny0yZjc1LTQ0MDAtYjY0NC1lMDQ2NmNjMWY3ZjgifXsiYSI6IDF9"
    )
    assert phoenix.decode(frame, Vsn.V2).payload == {
        "type": "broadcast",
        "event": "ev",
        "payload": {"a": 1},
        "meta": {"id": "9e4e8d87-2f75-4400-b644-e0466cc1f7f8"},
    }


def test_bytes_cannot_go_to_an_old_client() -> None:
    assert phoenix.encode_user_broadcast(UserBroadcast("t", "e", b"\x00", False), Vsn.V1) is None


def test_digits_are_kept_on_demand() -> None:
    text = '[null,null,"t","e",{"n":1.5000}]'
    assert phoenix.decode(text, Vsn.V2, parse_float=Decimal).payload["n"].as_tuple().exponent == -4


@pytest.mark.parametrize("frame", ["", "[]", "{}", '["1","1","t","phx_join"]', "[NaN]", "null"])
def test_wrong_shapes(frame: str) -> None:
    for read in (phoenix.decode_push, phoenix.open_frame):
        with pytest.raises(ProtocolError):
            read(frame, Vsn.V2)


def test_a_part_too_long_for_its_size_byte() -> None:
    with pytest.raises(ProtocolError, match="255"):
        phoenix.encode_user_broadcast_push(UserBroadcast("t" * 256, "e", b"", True))


def test_a_client_insists_on_names_that_are_texts() -> None:
    for read in (phoenix.decode, phoenix.open_frame):
        with pytest.raises(ProtocolError):
            read('[null,null,5,"e",{}]', Vsn.V2)
    assert phoenix.decode_push('[null,null,5,"e",{}]', Vsn.V2) == Message(5, "e", {})  # type: ignore[arg-type]
