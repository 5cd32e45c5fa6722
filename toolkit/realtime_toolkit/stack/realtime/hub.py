"""Topics and the channels joined to them: fan-out of broadcasts and presence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from realtime_toolkit import phoenix
from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.phoenix import Message, UserBroadcast, Vsn
from realtime_toolkit.stack.realtime.framing import frame
from realtime_toolkit.stack.realtime.presence import Diff, Presence

log = logging.getLogger("realtime_toolkit.stack.realtime")

Topic = tuple[str, bool]
"""Name without ``realtime:``, and whether it is private: two worlds."""


class Member(Protocol):
    """What the hub needs of a channel."""

    vsn: Vsn
    replayed: set[str]

    @property
    def may_read_broadcast(self) -> bool: ...
    @property
    def may_read_presence(self) -> bool: ...
    def deliver(self, data: bytes) -> None: ...
    def send_frame(self, data: bytes) -> None: ...


class Hub:
    def __init__(self) -> None:
        self._channels: dict[Topic, dict[Member, None]] = {}
        self._presence: dict[Topic, Presence] = {}

    def join(self, topic: Topic, channel: Member) -> None:
        self._channels.setdefault(topic, {})[channel] = None

    def leave(self, topic: Topic, channel: Member) -> None:
        channels = self._channels.get(topic, {})
        channels.pop(channel, None)
        if not channels:
            self._channels.pop(topic, None)

    def channels(self, topic: Topic) -> list[Member]:
        return list(self._channels.get(topic, ()))

    def broadcast(
        self,
        topic: Topic,
        message: Message | UserBroadcast,
        *,
        sender: Member | None = None,
        message_id: str | None = None,
    ) -> None:
        """To every channel of the topic but the sender, each encoding made once."""
        encoded = _Encoded(message)
        for channel in self.channels(topic):
            if channel is sender or (message_id is not None and message_id in channel.replayed):
                continue
            data = encoded.for_(channel.vsn)
            if data is not None and channel.may_read_broadcast:
                channel.deliver(data)

    def presence(self, topic: Topic) -> Presence:
        return self._presence.get(topic) or Presence()

    def track(self, topic: Topic, channel: Member, key: str, payload: dict[str, object]) -> Diff:
        return self._presence.setdefault(topic, Presence()).track(channel, key, payload)

    def untrack(self, topic: Topic, channel: Member) -> Diff | None:
        presence = self._presence.get(topic)
        diff = None if presence is None else presence.untrack(channel)
        if presence is not None and not presence.metas:
            del self._presence[topic]
        return diff

    def presence_diff(self, topic: Topic, diff: Diff, count: Callable[[], None]) -> None:
        encoded = _Encoded(Message(f"realtime:{topic[0]}", "presence_diff", diff))
        for channel in self.channels(topic):
            data = encoded.for_(channel.vsn)
            if data is not None and channel.may_read_presence:
                count()
                channel.send_frame(data)

    def all(self) -> Iterable[Member]:
        return [channel for channels in self._channels.values() for channel in channels]


class _Encoded:
    """A message's websocket frames, made when first asked for."""

    def __init__(self, message: Message | UserBroadcast) -> None:
        self._message = message
        self._frames: dict[Vsn, bytes | None] = {}

    def for_(self, vsn: Vsn) -> bytes | None:
        if vsn not in self._frames:
            self._frames[vsn] = self._encode(vsn)
        return self._frames[vsn]

    def _encode(self, vsn: Vsn) -> bytes | None:
        try:
            return self._frame(vsn)
        except ProtocolError as error:  # a name too long for a binary frame: there is no such frame
            log.error("UnableToEncodeMessage: %s", error)
            return None

    def _frame(self, vsn: Vsn) -> bytes | None:
        if isinstance(self._message, UserBroadcast):
            data = phoenix.encode_user_broadcast(self._message, vsn)
        elif isinstance(self._message.payload, bytes):
            data = _binary_push(self._message, vsn)
        else:
            data = phoenix.encode_from_server(self._message, vsn)
        return None if data is None else frame(data)


def _binary_push(message: Message, vsn: Vsn) -> str | bytes:
    """A push of kind 0 goes on as kind 2; the genuine server cannot say it in ``1.0.0`` and says so."""
    if vsn is Vsn.V2:
        return phoenix.encode_binary_broadcast(message.topic, message.event, message.payload)
    topic = phoenix.dumps(message.topic)
    return (
        f'{{"ref":null,"event":{phoenix.dumps(message.event)},'
        f'"payload":%{{error: "unable to parse response"}},"topic":{topic}}}'
    )
