"""What faults do to a running server: the effects behind :mod:`realtime_toolkit.stack.realtime.faults`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from realtime_toolkit import phoenix
from realtime_toolkit.stack.realtime import tokens
from realtime_toolkit.stack.realtime.framing import frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from realtime_toolkit.stack.realtime.channels import Channel
    from realtime_toolkit.stack.realtime.faults import Fault
    from realtime_toolkit.stack.realtime.server import Server, Subscriber
    from realtime_toolkit.stack.realtime.sockets import Socket

log = logging.getLogger("realtime_toolkit.stack.realtime")


class Striker:
    """Carries out the faults that strike at once. Faults may come from any thread."""

    def __init__(self, server: Server, sockets: set[Socket]) -> None:
        self._server = server
        self._open = sockets
        self._loop = asyncio.get_running_loop()

    def __call__(self, fault: Fault) -> None:
        if self._loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._strike(fault)
        else:
            self._loop.call_soon_threadsafe(self._strike, fault)

    def _strike(self, fault: Fault) -> None:
        log.warning("fault: %s %s", fault.name, "" if fault.argument is None else fault.argument)
        acts: dict[str, Callable[[Fault], None]] = {
            "socket-gap": self._abort,
            "abort": self._abort,
            "close": lambda fault: self._each_socket(lambda socket: socket.close(int(fault.number))),
            "half-open": lambda _: self._each_socket(lambda socket: socket.freeze()),
            "slow-consumer": lambda _: self._each_socket(lambda socket: socket.cut_off()),
            "malformed-frame": lambda _: self._each_socket(lambda s: s.send_frame(frame('{"topic":'))),
            "stale-close": self._stale_close,
            "expire-token": self._expire_tokens,
            "publication-change": self._publication_change,
            "not-decoded": lambda fault: self._server.withhold_tables(fault.number),
            "rate-limit": lambda fault: self._server.deafen(fault.number),
            "slot-lost": self._slot_lost,
            "connections-lost": self._connections_lost,
        }
        acts[fault.name](fault)

    # --- sockets ----------------------------------------------------------------------------------

    def _sockets(self) -> list[Socket]:
        return [socket for socket in self._open if socket.session is not None]

    def _channels(self) -> Iterable[Channel]:
        for socket in self._sockets():
            if socket.session is not None:
                yield from list(socket.session.channels.values())

    def _each_socket(self, act: Callable[[Socket], None]) -> None:
        for socket in self._sockets():
            act(socket)

    def _abort(self, _: Fault) -> None:
        self._each_socket(lambda socket: socket.abort())

    def _stale_close(self, _: Fault) -> None:
        for channel in self._channels():
            channel.send(phoenix.close(channel.topic, f"{channel.join_ref}0"))

    def _expire_tokens(self, _: Fault) -> None:
        for channel in self._channels():
            channel.shut_down(tokens.expired(0).push)

    # --- changes ----------------------------------------------------------------------------------

    def _publication_change(self, fault: Fault) -> None:
        channels = self._server.feed.subscribers()
        for channel in channels:
            self._server.feed.unsubscribe(channel)
        self._loop.call_later(fault.number, self._resubscribe, channels)

    def _resubscribe(self, channels: list[Subscriber]) -> None:
        for channel in channels:
            self._server.resubscribe(channel)

    def _slot_lost(self, fault: Fault) -> None:
        self._server.reader.gap = fault.number
        self._server.reader.terminate()

    def _connections_lost(self, fault: Fault) -> None:
        self._server.lose_connections()
        self._slot_lost(fault)
