"""The Realtime wire protocol, both sides, without I/O: frames in, messages out, and back.

Two serializers are in use, chosen by ``vsn`` in the socket's address:

- ``1.0.0``: every frame is a JSON object ``{"topic", "event", "payload", "ref", "join_ref"}``; the
  server leaves ``join_ref`` out.
- ``2.0.0``: a JSON array ``[join_ref, ref, topic, event, payload]``, and binary frames whose first byte
  is their kind::

      0 push            sizes: join_ref ref topic event                        then these, then data
      1 reply           sizes: join_ref ref topic status                       then these, then data
      2 broadcast       sizes: topic event                                     then these, then data
      3 user broadcast  sizes: join_ref ref topic event metadata; encoding     then these, then payload
      4 user broadcast  sizes: topic event metadata; encoding                  then these, then payload

  Sizes are one byte each; kinds 0 and 3 go to the server, 1, 2 and 4 to the client; encoding is 0 for
  bytes and 1 for JSON text.

Source: frames recorded from the genuine server v2.129.8.
"""

from __future__ import annotations

import json
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.exact import shallow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Vsn(StrEnum):
    V1 = "1.0.0"
    V2 = "2.0.0"


class Kind(IntEnum):
    """First byte of a binary frame (``2.0.0`` only)."""

    PUSH = 0
    REPLY = 1
    BROADCAST = 2
    USER_BROADCAST_PUSH = 3
    USER_BROADCAST = 4


class Message(msgspec.Struct, frozen=True, gc=False):
    """One frame: ``payload`` is its JSON value (bytes for a binary push, reply or broadcast)."""

    topic: str
    event: str
    payload: Any = {}
    ref: Any = None
    join_ref: Any = None


class UserBroadcast(msgspec.Struct, frozen=True, gc=False):
    """A user's broadcast in binary form (kinds 3 and 4): its payload goes through unread."""

    topic: str
    event: str
    payload: bytes
    is_json: bool
    metadata: bytes = b""
    """JSON object, or nothing."""
    ref: str | None = None
    join_ref: str | None = None

    def to_message(self) -> Message:
        """As the equivalent text frame would read; raises :class:`ProtocolError` for broken JSON."""
        payload: dict[str, Any] = {"type": "broadcast", "event": self.event}
        payload["payload"] = loads(self.payload) if self.is_json else self.payload
        if self.metadata:
            payload["meta"] = loads(self.metadata)
        return Message(self.topic, "broadcast", payload, self.ref, self.join_ref)


# --- JSON -----------------------------------------------------------------------------------------


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def loads(text: str | bytes, *, parse_float: Callable[[str], Any] | None = None) -> Any:
    """Strict JSON; raises :class:`ProtocolError`. ``parse_float=Decimal`` keeps every digit."""
    try:
        return json.loads(text, parse_float=parse_float, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from None


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- either side: text frames ---------------------------------------------------------------------


def encode(message: Message, vsn: Vsn) -> str:
    """A text frame as a client sends it (``1.0.0``: with ``join_ref``)."""
    if vsn is Vsn.V2:
        return _array(message)
    fields = {"topic": message.topic, "event": message.event, "payload": message.payload, "ref": message.ref}
    if message.join_ref is not None:
        fields["join_ref"] = message.join_ref
    return dumps(fields)


def encode_from_server(message: Message, vsn: Vsn) -> str:
    """A text frame as the server sends it (``1.0.0``: without ``join_ref``)."""
    if vsn is Vsn.V2:
        return _array(message)
    return dumps(
        {"ref": message.ref, "event": message.event, "payload": message.payload, "topic": message.topic}
    )


def _array(message: Message) -> str:
    return dumps([message.join_ref, message.ref, message.topic, message.event, message.payload])


def _decode_text(text: str, vsn: Vsn, parse_float: Callable[[str], Any] | None) -> Message:
    """Topic and event may be any JSON: the server answers even those, as an unmatched topic."""
    frame = loads(text, parse_float=parse_float)
    match vsn, frame:
        case Vsn.V2, [join_ref, ref, topic, event, payload, *_]:
            return Message(topic, event, payload, ref, join_ref)
        case Vsn.V1, {"topic": topic, "event": event, "payload": payload, "ref": ref, **rest}:
            return Message(topic, event, payload, ref, rest.get("join_ref"))
    raise ProtocolError(f"not a {vsn} frame: {text[:200]}")


# --- the client's side ----------------------------------------------------------------------------


class _Array(msgspec.Struct, array_like=True, gc=False):
    """A text frame of ``2.0.0`` with its payload unread."""

    join_ref: Any
    ref: Any
    topic: str
    event: str
    payload: msgspec.Raw


class _Object(msgspec.Struct, gc=False):
    """A text frame of ``1.0.0`` with its payload unread."""

    topic: str
    event: str
    payload: msgspec.Raw
    ref: Any
    join_ref: Any = None


_array_decoder, _object_decoder = msgspec.json.Decoder(_Array), msgspec.json.Decoder(_Object)


def open_frame(frame: str | bytes, vsn: Vsn) -> Message:
    """As :func:`decode`, with the payload of a text frame unread, as a :class:`msgspec.Raw`: see :func:`opened`.

    So what is in a payload, however odd, does not keep anybody from knowing whose it is.
    """
    if not isinstance(frame, str):
        return decode(frame, vsn)
    decoder: msgspec.json.Decoder[Any] = _array_decoder if vsn is Vsn.V2 else _object_decoder
    try:
        found = decoder.decode(frame)
    except (ValueError, RecursionError):
        found = _open_carefully(frame, vsn)
    return Message(found.topic, found.event, found.payload, found.ref, found.join_ref)


def opened(message: Message) -> Message:
    """A message of :func:`open_frame` with its payload read; raises :class:`ProtocolError`."""
    if not isinstance(message.payload, msgspec.Raw):
        return message
    return Message(message.topic, message.event, loads(bytes(message.payload)), message.ref, message.join_ref)


def _open_carefully(frame: str, vsn: Vsn) -> _Array | _Object:
    """The same where the payload has what msgspec refuses: it is cut out before the rest is read."""
    try:
        parts = shallow(frame.encode())
        if vsn is Vsn.V2 and isinstance(parts, list) and len(parts) >= 5:
            found: _Array | _Object = _array_decoder.decode(b"[%b,null]" % b",".join(parts[:4]))
            payload = parts[4]
        elif vsn is Vsn.V1 and isinstance(parts, dict):
            payload, parts["payload"] = parts["payload"], b"null"
            fields = {name: msgspec.Raw(text) for name, text in parts.items()}
            found = _object_decoder.decode(msgspec.json.encode(fields))
        else:
            raise ValueError
        found.payload = msgspec.Raw(payload)
    except (ValueError, KeyError, RecursionError):
        raise ProtocolError(f"not a {vsn} frame: {frame[:200]}") from None
    return found


def decode(frame: str | bytes, vsn: Vsn, *, parse_float: Callable[[str], Any] | None = None) -> Message:
    """Read a frame from the server; raises :class:`ProtocolError`.

    A user broadcast of kind 4 becomes the message that the text frame would have been:
    ``{"type": "broadcast", "event", "payload", "meta"?}``, its payload bytes if it is not JSON.
    """
    if isinstance(frame, str):
        message = _decode_text(frame, vsn, parse_float)
        if not isinstance(message.topic, str) or not isinstance(message.event, str):
            raise ProtocolError(f"not a {vsn} frame: {frame[:200]}")
        return message
    kind, body = _split(frame, vsn)
    if kind is Kind.USER_BROADCAST:
        (topic, event, metadata), encoding, payload = _fields(body, 3, has_encoding=True)
        return UserBroadcast(_text(topic), _text(event), payload, encoding == 1, metadata).to_message()
    if kind is Kind.BROADCAST:
        (topic, event), _, payload = _fields(body, 2)
        return Message(_text(topic), _text(event), payload)
    if kind is Kind.REPLY:
        (join_ref, ref, topic, status), _, payload = _fields(body, 4)
        reply = {"status": _text(status), "response": payload}
        return Message(_text(topic), "phx_reply", reply, _text(ref) or None, _text(join_ref) or None)
    raise ProtocolError(f"a server does not send frames of kind {kind}")


def encode_user_broadcast_push(broadcast: UserBroadcast) -> bytes:
    """Kind 3, client to server; raises :class:`ProtocolError` for a part above 255 bytes."""
    parts = [broadcast.join_ref or "", broadcast.ref or "", broadcast.topic, broadcast.event]
    return _pack(Kind.USER_BROADCAST_PUSH, [*map(str.encode, parts), broadcast.metadata], broadcast)


def join(
    topic: str, ref: str, config: Mapping[str, Any] | None = None, access_token: str | None = None
) -> Message:
    """``phx_join``: its ``ref`` is the channel's ``join_ref`` from then on. ``config`` has the keys
    ``broadcast {ack, self, replay}``, ``presence {key, enabled}``, ``postgres_changes [{event, schema,
    table, filter, select}]`` and ``private``."""
    payload: dict[str, Any] = {"config": dict(config or {})}
    if access_token is not None:
        payload["access_token"] = access_token
    return Message(topic, "phx_join", payload, ref, ref)


def leave(topic: str, ref: str, join_ref: str) -> Message:
    return Message(topic, "phx_leave", {}, ref, join_ref)


def heartbeat(ref: str) -> Message:
    return Message("phoenix", "heartbeat", {}, ref)


def access_token(topic: str, ref: str, join_ref: str, token: str) -> Message:
    """Replace a joined channel's token. The server answers only if it is refused."""
    return Message(topic, "access_token", {"access_token": token}, ref, join_ref)


# --- the server's side ----------------------------------------------------------------------------


def decode_push(frame: str | bytes, vsn: Vsn) -> Message | UserBroadcast:
    """Read a frame from a client; raises :class:`ProtocolError`."""
    if isinstance(frame, str):
        return _decode_text(frame, vsn, None)
    kind, body = _split(frame, vsn)
    if kind is Kind.USER_BROADCAST_PUSH:
        (join_ref, ref, topic, event, metadata), encoding, payload = _fields(body, 5, has_encoding=True)
        refs = (_text(ref) or None, _text(join_ref) or None)
        return UserBroadcast(_text(topic), _text(event), payload, encoding == 1, metadata, *refs)
    if kind is Kind.PUSH:
        (join_ref, ref, topic, event), _, payload = _fields(body, 4)
        return Message(_text(topic), _text(event), payload, _text(ref) or None, _text(join_ref) or None)
    raise ProtocolError(f"a client does not send frames of kind {kind}")


def encode_user_broadcast(broadcast: UserBroadcast, vsn: Vsn) -> str | bytes | None:
    """Kind 4 for ``2.0.0``, text for ``1.0.0``, where bytes cannot be sent at all: ``None``.

    The payload of a text frame is spliced in unread, as the genuine server does: a sender that marks
    broken JSON as JSON breaks the frame.
    """
    if vsn is Vsn.V2:
        parts = [broadcast.topic.encode(), broadcast.event.encode(), broadcast.metadata]
        return _pack(Kind.USER_BROADCAST, parts, broadcast)
    if not broadcast.is_json:
        return None
    meta = f'"meta":{broadcast.metadata.decode()},' if broadcast.metadata else ""
    payload = broadcast.payload.decode(errors="replace")
    inner = f'{{"event":{dumps(broadcast.event)},{meta}"payload":{payload},"type":"broadcast"}}'
    return f'{{"ref":null,"event":"broadcast","payload":{inner},"topic":{dumps(broadcast.topic)}}}'


def encode_binary_broadcast(topic: str, event: str, data: bytes) -> bytes:
    """Kind 2, server to client."""
    return bytes([Kind.BROADCAST, len(topic.encode()), len(event.encode())]) + (topic + event).encode() + data


def reply(to: Message | UserBroadcast, status: str, response: Any, *, join_ref: Any = None) -> Message:
    """The answer to a push; ``join_ref`` is the channel's own."""
    return Message(to.topic, "phx_reply", {"status": status, "response": response}, to.ref, join_ref)


def unmatched(to: Message | UserBroadcast) -> Message:
    """The answer to a push to a topic that is not joined, and to any but a heartbeat on ``phoenix``."""
    return reply(to, "error", {"reason": "unmatched topic"})


def close(topic: str, join_ref: Any) -> Message:
    """The channel has ended."""
    return Message(topic, "phx_close", {}, join_ref, join_ref)


def system(topic: str, join_ref: Any, extension: str, status: str, message: str) -> Message:
    """What became of a channel's extension: ``postgres_changes`` or ``system``."""
    payload = {"message": message, "status": status, "extension": extension}
    payload["channel"] = topic.removeprefix("realtime:")
    return Message(topic, "system", payload, None, join_ref)


# --- binary frames --------------------------------------------------------------------------------


def _split(frame: bytes, vsn: Vsn) -> tuple[Kind, bytes]:
    if vsn is Vsn.V1:
        raise ProtocolError("vsn 1.0.0 has no binary frames")
    if not frame or frame[0] > max(Kind):
        raise ProtocolError(f"unknown kind of binary frame: {frame[:1].hex() or 'empty'}")
    return Kind(frame[0]), frame[1:]


def _fields(body: bytes, count: int, *, has_encoding: bool = False) -> tuple[list[bytes], int, bytes]:
    """The sized fields, the encoding byte (0 where the kind has none), and the rest."""
    start = count + has_encoding
    sizes = body[:count]
    if len(body) < start + sum(sizes):
        raise ProtocolError("binary frame is shorter than its sizes say")
    parts = []
    offset = start
    for size in sizes:
        parts.append(body[offset : offset + size])
        offset += size
    return parts, body[count] if has_encoding else 0, body[offset:]


def _pack(kind: Kind, parts: Sequence[bytes], broadcast: UserBroadcast) -> bytes:
    if any(len(part) > 255 for part in parts):
        raise ProtocolError("topic, event, metadata and refs of a binary frame are at most 255 bytes each")
    header = bytes([kind, *map(len, parts), int(broadcast.is_json)])
    return header + b"".join(parts) + broadcast.payload


def _text(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        raise ProtocolError("binary frame: a name is not UTF-8") from None
